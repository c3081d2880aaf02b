"""Text for the page: held-out passages with hidden words, and what the model and the best baseline guess."""

import copy
import math
from typing import Any

import numpy as np
import torch

from textdae.core.errors import SettingsError, panics_refused
from textdae.core.examples import Questions
from textdae.core.explorer import (
    MOST_ON_THE_MAP,
    SHOWN,
    Dial,
    Explorer,
    Json,
    Redrawn,
    in_a_sentence,
    in_the_plane,
    nearest,
    options,
    rate_levels,
    scored,
)
from textdae.report.scores import score_table
from textdae.text.baselines import Guesses, TextBaselines
from textdae.text.loading import LoadedText, load_text
from textdae.text.noise import ChosenNoise
from textdae.text.noises import TextNoise
from textdae.text.passages import Passage, PassageReader, Passages, sources
from textdae.text.rounds import as_candidates, best_tokens, fill
from textdae.text.settings import TextEvaluateRunSettings
from textdae.text.task import TextEvaluation, open_evaluation
from textdae.training.evaluation import corrupt_for_evaluation

_LONGEST, _SHORTEST = 56, 28
"""Tokens of a passage on the page."""
_ROUNDS = 8
"""In which the masks of a passage are filled."""


class TextExplorer(Explorer):
    """Passages under hidden words, or hidden tokens."""

    modality = "text"
    row_keys = [("accuracy", "%", True), ("bits_per_byte", "bits/byte", False)]

    def __init__(self, checkpoint: str, settings: TextEvaluateRunSettings) -> None:
        self._own: TextEvaluation = open_evaluation(checkpoint, settings)
        self._settings = settings
        self._most, self._option = scored(settings)
        self._fitted: dict[str, tuple[TextEvaluation, TextBaselines]] = {}
        corpus = self._own.corpus
        self._reader = PassageReader(corpus.tokenizer, self._own.vocabulary, self._own.denoiser.longest)
        self._passages = self._reader.held_out(corpus.held_out, SHOWN, _LONGEST, _SHORTEST)
        self.count = len(self._passages)
        self._baselines: dict[tuple[str, int], TextBaselines] = {}
        own, words = settings.evaluate, _kinds()
        kinds = sorted(words, key=lambda kind: kind != own.kind)
        self.dials = [
            Dial(
                kind,
                "rate",
                rate_levels(),
                nearest(rate_levels(), own.rate),
                options(self._option, "" if kind == own.kind else f"evaluate.kind={kind}"),
                words[kind],
            )
            for kind in kinds
        ]

    def about(self) -> Json:
        """Return the passages, in pieces."""
        denoiser = self._own.denoiser
        beside = [each for part in denoiser.parts_beside().values() for each in part.parameters()]
        return {
            "architecture": type(denoiser.model).__name__,
            "parameters": sum(each.numel() for each in denoiser.parameters()) - sum(map(torch.numel, beside)),
            "data": self._own.corpus.summary[0],
            "clean": [self._reader.pieces(each) for each in self._passages],
            "names": [each.source for each in self._passages],
            "mask": str(self._own.corpus.tokenizer.mask_token),
        }

    def _questions(self, kind: str, level: float, seed: int, example: int | None = None) -> Questions:
        vocabulary = self._own.vocabulary
        examples = Passages(self._passages, vocabulary, level)
        shown = torch.arange(len(examples)) if example is None else torch.tensor([example])
        numbers = Redrawn(examples).number(shown, seed)
        if kind == "words":
            return Questions(examples, ChosenNoise(vocabulary, level), numbers)
        return Questions(examples, TextNoise.kinds[kind](rate=level).build(vocabulary), numbers)

    def shot(self, kind: str, level: float, seed: int, example: int) -> Json:
        """Return the hidden positions of a passage, and their guesses and figures."""
        return self._guessed(self._questions(kind, level, seed, example))

    @torch.no_grad()
    def _guessed(self, questions: Questions) -> Json:
        corrupted = corrupt_for_evaluation(*questions)
        device = next(self._own.denoiser.parameters()).device
        logits = self._own.denoiser(corrupted.to(device)).reconstruction.float().cpu()
        target = corrupted.target[corrupted.loss_mask]
        losses = -logits.log_softmax(-1)[torch.arange(len(target)), target]
        tokenizer = self._own.corpus.tokenizer
        best = best_tokens(logits, tokenizer, 5)
        right = (best.indices[:, 0] == target).numpy()
        candidates = as_candidates(tokenizer, best)
        mask_id, shown = self._own.vocabulary.mask_id, corrupted.inputs["input_ids"][corrupted.loss_mask]
        texts = [None if i == mask_id else _piece(tokenizer, i) for i in shown.tolist()]
        ((_, hidden, size),) = self._parts(questions, corrupted.loss_mask)
        return {
            "hidden": hidden,
            "shown": texts,
            "guesses": [[[c.token, round(c.probability, 4)] for c in row] for row in candidates],
            "right": right.tolist(),
            "figures": _figures(right, losses.numpy(), size),
        }

    def _parts(self, questions: Questions, loss_mask: torch.Tensor) -> list[tuple[slice, list[int], float]]:
        """Return for each passage: the slice of its scored positions among all, which pieces they are, and their bytes."""
        examples, parts, begin = questions.examples, [], 0
        assert isinstance(examples, Passages)
        for number, row in zip(questions.indices.tolist(), loss_mask.numpy(), strict=True):
            seed, index = divmod(number, len(examples))
            passage = examples.passages[index]
            positions = np.flatnonzero(row)
            if isinstance(questions.noise, ChosenNoise) and examples.chosen is None:
                known = row[np.minimum(passage.begin, len(row) - 1)] & examples.is_hidden(passage, seed)
                size = float(passage.bytes[known].sum())
            else:
                size = len(positions) * self._own.corpus.held_out.bytes_per_token
            part = slice(begin, begin + len(positions))
            parts.append((part, (positions - self._reader.offset).tolist(), size))
            begin += len(positions)
        return parts

    def baseline(self, kind: str, level: float, seed: int) -> Json:
        """Guess the same words with the baseline of the lowest loss on these passages."""
        key = (kind, 0 if kind == "words" else seed)
        if key not in self._baselines:
            if kind == "words":
                sets = [self._visible(self._passages)]
            else:
                sets = [self._questions(kind, each, seed) for each in self.dial(kind).levels]
            self._baselines[key] = TextBaselines(self._own.corpus.train, self._own.vocabulary, sets)
        return self._baseline(self._baselines[key], self._questions(kind, level, seed))

    def _visible(self, passages: list[Passage]) -> Questions:
        """Return every position with its neighbours visible, for a baseline that is counted before the words are chosen."""
        examples = Passages(passages, self._own.vocabulary, None)
        return Questions(examples, ChosenNoise(self._own.vocabulary, 1.0), torch.arange(len(passages)))

    def _baseline(self, baselines: TextBaselines, questions: Questions) -> Json:
        loss_mask = corrupt_for_evaluation(*questions).loss_mask
        if not bool(loss_mask.any()):
            return {"name": "neighbours", "examples": [_silent() for _ in range(len(questions.indices))]}
        guesses = baselines.guesses(questions)
        name = min(guesses, key=lambda each: float(guesses[each].losses.sum()))
        best: Guesses = guesses[name]
        tokenizer, examples = self._own.corpus.tokenizer, []
        for part, _, size in self._parts(questions, loss_mask):
            examples.append(
                {
                    "guesses": [_piece(tokenizer, i).strip() for i in best.guess[part].tolist()],
                    "right": best.right[part].tolist(),
                    "figures": _figures(best.right[part], best.losses[part], size),
                }
            )
        return {"name": name, "examples": examples}

    def curve(self, kind: str, level: float) -> Json:
        """Score as `textdae evaluate --levels` does."""
        if kind not in self._fitted:
            evaluation = copy.copy(self._own)
            evaluation.evaluation = self._own.evaluation.model_copy(update={"kind": kind})
            # The baselines count once for all levels.
            every = [evaluation.questions(self._most, each) for each in self.dial(kind).levels]
            fitted = TextBaselines(self._own.corpus.train, self._own.vocabulary, every)
            self._fitted[kind] = evaluation, fitted
        evaluation, fitted = self._fitted[kind]
        questions = evaluation.questions(self._most, level)
        rows = {name: evaluation.row(questions, *each) for name, each in fitted.score(questions).items()}
        row, count = evaluation.score(questions, self._settings.evaluate.batch_size)
        return {
            "level": level,
            "scored": count,
            **evaluation.describe(questions),
            "held_out": score_table(row, rows),
        }

    def steps(self, kind: str, level: float, seed: int, example: int) -> Json:
        """Fill the masks of a passage in rounds, the surest first."""
        corrupted = corrupt_for_evaluation(*self._questions(kind, level, seed, example))
        passage = self._passages[example]
        masks = corrupted.loss_mask[0].nonzero().squeeze(1)
        ids = corrupted.target[0, : len(passage.ids)].clone()
        ids[masks] = self._own.vocabulary.mask_id
        tokenizer, first, rounds = self._own.corpus.tokenizer, self._reader.offset, []
        loaded = LoadedText(self._own.denoiser, tokenizer)
        for filled in fill(loaded, ids, masks, _ROUNDS, top=1):
            tokens = filled.ids[filled.positions]
            rounds.append(
                {
                    "positions": (filled.positions - first).tolist(),
                    "tokens": [_piece(tokenizer, i).strip() for i in tokens.tolist()],
                    "right": (tokens == corrupted.target[0, filled.positions]).tolist(),
                }
            )
        return {"hidden": (masks - first).tolist(), "rounds": rounds}

    @torch.no_grad()
    def map(self) -> Json:
        """Return the mean embedding of held-out passages."""
        passages = self._reader.held_out(self._own.corpus.held_out, MOST_ON_THE_MAP, 64, 8)
        examples = Passages(passages, self._own.vocabulary, None)
        device = next(self._own.denoiser.parameters()).device
        parts = []
        for numbers in torch.arange(len(passages)).split(32):
            batch = {name: value.to(device) for name, value in examples.batch(numbers).items()}
            ordinary = batch.pop("scored")[..., None].float()
            inputs = {name: batch[name] for name in ("input_ids", "document")}
            embedding = self._own.denoiser.encode(inputs).float()
            parts.append(((embedding * ordinary).sum(1) / ordinary.sum(1).clamp(min=1)).cpu().numpy())
        vectors = np.concatenate(parts)
        plane, variance = in_the_plane(vectors)
        tokenizer = self._own.corpus.tokenizer
        return {
            "kind": "pca",
            "width": vectors.shape[1],
            "variance": variance,
            "x": [float(f"{value:.4g}") for value in plane[:, 0]],
            "y": [float(f"{value:.4g}") for value in plane[:, 1]],
            "texts": [str(tokenizer.decode(self._reader.inside(each)[:24])) for each in passages],
            **sources(passages),
        }

    @panics_refused("the tokenizer")
    def own(self, request: Json) -> Json:
        """Hide words of a typed sentence and guess them: `text`, and the numbers of its words that are `hidden`."""
        passage = self._reader.typed(request.get("text"))
        pieces = self._reader.pieces(passage)
        hidden = request.get("hidden", [])
        if not isinstance(hidden, list) or not all(isinstance(word, int) for word in hidden):
            raise SettingsError("hidden: give a list of the numbers of words")
        chosen = np.zeros((1, len(passage.ids)), bool)
        inside = np.isin(pieces["words"], hidden)
        chosen[0, self._reader.offset :][: len(inside)] = inside
        chosen &= self._own.vocabulary.is_ordinary[passage.ids]
        if not chosen.any():
            return pieces
        examples = Passages([passage], self._own.vocabulary, None, chosen)
        questions = Questions(examples, ChosenNoise(self._own.vocabulary, 1.0), torch.arange(1))
        baselines = TextBaselines(self._own.corpus.train, self._own.vocabulary, [questions])
        baseline = self._baseline(baselines, questions)
        return {
            **pieces,
            **self._guessed(questions),
            "baseline": {"name": baseline["name"], **baseline["examples"][0]},
        }

    def at(self, checkpoint: str) -> "TextExplorer":
        """Return the same passages with another model."""
        other = copy.copy(self)
        other._own = copy.copy(self._own)
        other._own.denoiser = load_text(checkpoint).denoiser
        return other


def _piece(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _figures(right: np.ndarray, losses: np.ndarray, size: float) -> dict[str, Any]:
    """Return how many of the hidden tokens are right, and the bits for each of their bytes."""
    bits = float(losses.sum()) / math.log(2)
    return {
        "right": int(right.sum()),
        "scored": len(right),
        "bits_per_byte": round(bits / size, 4) if size else None,
    }


def _silent() -> Json:
    return {"guesses": [], "right": [], "figures": {"right": 0, "scored": 0, "bits_per_byte": None}}


def _kinds() -> dict[str, str]:
    """Return the kinds of noise that the page offers, and what each does: words, and what `evaluate.kind` takes besides."""
    own = {
        "words": "Hide whole words, chosen by the text: the same for every tokenizer.",
        "tokens": "Choose single tokens: 80% are masked, 10% replaced by a random one, 10% left alone.",
    }
    aligned = {kind: noise for kind, noise in TextNoise.kinds.items() if noise.aligned}
    return own | {kind: in_a_sentence(noise) for kind, noise in aligned.items() if kind not in own}
