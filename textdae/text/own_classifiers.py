"""The code of a text, and one linear layer for labels on it; transformers has no class for that.

n texts, L positions, V vocabulary, D width, K code width.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from textdae.text.pooling import weighted_mean


class CodeConfig(PreTrainedConfig):
    """The config of a stock encoder, and K.

    Args:
        encoder: of any family, or its values with their `model_type`; where it was loaded from is left out.
        code_size: K.
    """

    model_type = "textdae_code"
    sub_configs = {"encoder": AutoConfig}
    has_no_defaults_at_init = True

    def __init__(
        self, encoder: PreTrainedConfig | dict[str, Any] | None = None, code_size: int = 64, **kwargs: Any
    ) -> None:
        self.encoder: Any = (
            AutoConfig.for_model(**encoder) if isinstance(encoder, dict) else copy.deepcopy(encoder)
        )
        if self.encoder is not None:
            # transformers leaves this path out of config.json at the top level only.
            self.encoder.name_or_path = ""
        self.code_size = code_size
        super().__init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the encoder."""
        return int(getattr(self.encoder, "num_hidden_layers", 0))


class CodeModel(PreTrainedModel):
    """Text -> K numbers: a stock encoder, the weighted mean over its tokens, a linear layer.

    Its `last_hidden_state` is the encoder's (n, L, D), its `pooler_output` the code (n, K).
    """

    config_class = CodeConfig
    base_model_prefix = "bottleneck"
    main_input_name = "input_ids"
    _supports_sdpa = True
    token_weights: Tensor

    def __init__(self, config: CodeConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder, trust_remote_code=False)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # nothing reads it
        self.register_buffer("token_weights", torch.ones(config.encoder.vocab_size))
        self.to_code = nn.Linear(config.encoder.hidden_size, config.code_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's."""
        embeddings: nn.Module = self.encoder.get_input_embeddings()
        return embeddings

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the parts as they initialise themselves; a checkpoint has all of them."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """(n, L) -> embedding (n, L, D) and code (n, K); `kwargs` are the encoder's."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        output = self.encoder(input_ids=input_ids, attention_mask=mask, **kwargs)
        # Not in bf16: whitening scales up small differences, and rounding with them.
        with torch.autocast(output[0].device.type, enabled=False):
            mean = weighted_mean(output[0].float(), mask * self.token_weights[input_ids])
            code = self.to_code(mean.to(self.to_code.weight.dtype))
        return BaseModelOutputWithPooling(
            last_hidden_state=output[0],
            pooler_output=code,
            hidden_states=getattr(output, "hidden_states", None),
            attentions=getattr(output, "attentions", None),
        )


class CodeForSequenceClassification(PreTrainedModel):
    """The code of a text -> scores of the classes."""

    config_class = CodeConfig
    base_model_prefix = "bottleneck"
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: CodeConfig) -> None:
        super().__init__(config)
        self.bottleneck = CodeModel(config)  # `code` is a name of torch.fx, for the export
        self.classifier = nn.Linear(config.code_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the head as torch does, where a checkpoint has none."""
        if module is self.classifier:
            self.classifier.reset_parameters()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        """(n, L) -> logits (n, number of classes)."""
        output = self.bottleneck(input_ids, attention_mask, **kwargs)
        return SequenceClassifierOutput(logits=self.classifier(output.pooler_output))


AutoConfig.register(CodeConfig.model_type, CodeConfig)
AutoModel.register(CodeConfig, CodeModel)
AutoModelForSequenceClassification.register(CodeConfig, CodeForSequenceClassification)
