"""Settings of where text comes from: files and datasets, several sources by weight, labelled tables."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from textdae.core.settings.base import Bytes, Settings
from textdae.core.settings.data import DataSettings
from textdae.core.settings.downstream import LabelledDataSettings


class TextReadingSettings(DataSettings):
    """Where text comes from, and how it is read."""

    source: str = "docstrings"
    """`docstrings` (of the installed packages), a file, folder or glob (.txt .txt.gz .jsonl .csv .parquet), a URL (s3:// gs:// https:// hf://datasets/), what `textdae prepare` wrote, or a Hub dataset id; for pretraining also a list of sources with weights."""
    document: Literal["auto", "row", "paragraph", "line", "file"] = "auto"
    """What one document is; auto: a row of a table, a blank-line-separated paragraph of a text file. With paragraph and line, rows are cut too."""
    text_column: str = "text"
    """Column of a table that holds the text."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    errors: Literal["strict", "replace", "skip"] = "strict"
    """Bytes that do not decode: stop and say where, put U+FFFD in their place, or skip and count the document."""
    max_bytes: Bytes | None = None
    """Stop reading after this much text, e.g. 40MB; docstrings stop at 25MB unless told otherwise."""


class WeightedSource(Settings):
    """One of several sources of a run."""

    source: str
    """As `data.source` names it."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """As many blocks are drawn from it as this is of the sum of all weights."""
    max_epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Go through it at most so often, then the other sources share its weight; default: without end."""
    name: str | None = None
    """What the report calls it; default: the last part of `source`."""
    text_column: str | None = None
    """Instead of data.text_column, for this source."""
    document: Literal["auto", "row", "paragraph", "line", "file"] | None = None
    """Instead of data.document."""
    subset: str | None = None
    """Instead of data.subset."""
    split: str | None = None
    """Instead of data.split."""
    revision: str | None = None
    """Instead of data.revision."""

    @property
    def label(self) -> str:
        """What the report calls it."""
        return self.name or self.source.partition("?")[0].rstrip("/").rpartition("/")[2]


class TextDataSettings(TextReadingSettings):
    """Where the clean text comes from, and the blocks that it is packed into."""

    sources: tuple[WeightedSource, ...] | None = None
    """Several sources, drawn from by weights: data.source=[{source: A, weight: 0.7}, {source: B, weight: 0.3}]."""
    block_size: Annotated[int, Field(ge=8, le=65536)] = 128
    """Positions in a block, in tokens."""
    num_proc: Annotated[int, Field(ge=1)] | None = None
    """Processes that tokenize a corpus of more than some megabytes, each keeping what it has seen; default: one a core, at most 16."""

    cache_bytes: Bytes = 20_000_000_000
    """Of a prepared corpus in an object store at most so much is kept on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _list_of_sources(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("source"), list | tuple):
            return {**values, "sources": values["source"], "source": ""}
        return {"source": "", **values} if values.get("sources") else values

    @model_validator(mode="after")
    def _named(self) -> "TextDataSettings":
        if self.sources is None:
            return self
        if not self.sources:
            raise ValueError(
                "source holds no source; write data.source=[{source: A, weight: 0.7}, {source: B, weight: 0.3}]"
            )
        label = " + ".join(each.label for each in self.sources)
        if self.source not in ("", label):  # another source was named over the list of an earlier run
            self.__dict__["sources"] = None  # pydantic refuses assignment to a frozen model
            return self
        labels = [each.label for each in self.sources]
        if twice := next((name for name in labels if labels.count(name) > 1), None):
            raise ValueError(
                f"two sources are called {twice}; give each a name, e.g. {{source: ..., name: {twice}-2}}"
            )
        if self.held_out_source or self.held_out_split:
            raise ValueError(
                "held_out_source and held_out_split are for one source; of several each holds out its share"
            )
        self.__dict__["source"] = label
        return self

    def parts(self) -> "list[TextDataSettings]":
        """Return the settings of each source by itself; these where there is one only."""
        if not self.sources:
            return [self]
        keys = ("source", "text_column", "document", "subset", "split", "revision")
        of_each = ({key: getattr(each, key) for key in keys} for each in self.sources)
        return [
            self.model_copy(
                update={"sources": None} | {key: value for key, value in each.items() if value is not None}
            )
            for each in of_each
        ]


class LabelledTextSettings(LabelledDataSettings, TextReadingSettings):
    """Where labelled texts come from."""

    document: Literal["row"] = "row"
    """row: of a table, with its label."""
    label_column: str = "label"
    """Column of a table that holds the label; docstrings have their package."""
    text_pair_column: str | None = None
    """Column that holds a second text, for tasks about pairs."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Longest input in tokens, beyond which texts are cut off and counted; default: what the encoder takes, at most 512."""


_TAGGED = {"text_column": "tokens", "label_column": "ner_tags"}
"""Columns of words and tags, as most datasets on the Hub call them."""


class FinetuneTextDataSettings(LabelledTextSettings):
    """Where labelled texts come from, or sentences whose words have tags."""

    task: Literal["auto", "single_label", "multi_label", "regression", "tokens"] = "auto"  # type: ignore[assignment]
    """auto: by the labels, where a list of them is multi_label; regression must be set; tokens: a tag for each word, from columns of words and of IOB tags, or from CoNLL files (.txt, .conll)."""
    text_column: str = "text"
    """Column of a table that holds the text; of task tokens the words, default: tokens."""
    label_column: str = "label"
    """Column of a table that holds the label; of task tokens the tags, default: ner_tags. Docstrings have their package."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Longest input in tokens, beyond which texts are cut off and counted (of task tokens: divided between words); default: what the encoder takes, at most 512."""

    @model_validator(mode="before")
    @classmethod
    def _columns_of_tags(cls, values: Any) -> Any:
        return (
            {**_TAGGED, **values} if isinstance(values, dict) and values.get("task") == "tokens" else values
        )

    @model_validator(mode="after")
    def _no_pairs(self) -> "FinetuneTextDataSettings":
        if self.task == "tokens" and self.text_pair_column:
            raise ValueError(
                "text_pair_column: pairs of texts have no tags; leave it out, or choose another task"
            )
        return self
