"""Where a run is published."""

from pydantic import model_validator

from textdae.core.errors import SettingsError
from textdae.core.names import parse_hub_name
from textdae.core.settings.base import Settings


class HubSettings(Settings):
    """Where a run is published, and what its card says of it; the token is no setting, it comes from HF_TOKEN or `hf auth login`."""

    repo_id: str | None = None
    """OWNER/NAME: every saved checkpoint goes there in the background, as branch step-N, and the final model as main."""
    public: bool = False
    """Whether everybody may see it."""
    force: bool = False
    """Push over what did not come from this run."""
    push_training_state: bool = False
    """Send the state of the optimizer along, so that pretraining can be resumed exactly from there."""
    license: str | None = None
    """Licence of the model, as the Hub writes it, e.g. apache-2.0."""
    data_license: str | None = None
    """Licence of the data."""
    language: str | None = None
    """Language of the text, as the Hub writes it, e.g. en."""

    @model_validator(mode="after")
    def _name(self) -> "HubSettings":
        if self.repo_id and (parse_hub_name(self.repo_id, "hub.repo_id").revision or "/" not in self.repo_id):
            raise SettingsError(f"hub.repo_id: write OWNER/NAME, got {self.repo_id!r}")
        return self
