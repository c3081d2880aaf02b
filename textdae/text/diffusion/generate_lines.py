"""`textdae generate`: print texts as they fill in, write the film, and compare them with held-out text.

n texts or stretches of L tokens, N tokens of a stream.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from textdae.core.draw import mix
from textdae.core.errors import SettingsError, TextdaeError, reason
from textdae.text.data.corpus import prepare_text
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks
from textdae.text.diffusion.generate import Generated, Order, generate_text, step_count
from textdae.text.loading import load_text
from textdae.text.model_settings import TokenizerSettings
from textdae.text.settings import TextEvaluateRunSettings
from textdae.training.hardware import choose_device

logger = logging.getLogger(__name__)
REPEATED, COPIED = 4, 8
"""Tokens of an n-gram that is looked for within a text, and in the training text."""
_SHOWN = 8
"""Steps that are printed."""
_HIDDEN = "░"
_MOST_STRETCHES, _CHUNK = 2000, 1 << 20


def generate_lines(
    checkpoint: str,
    settings: TextEvaluateRunSettings,
    prompt: str,
    length: int,
    steps: int | None,
    temperature: float,
    top_p: float,
    order: Order,
    remask: float,
    samples: int,
    seed: int,
    replay: Path | None,
) -> Iterator[str]:
    """Return the lines of `textdae generate`: the first text as it fills in, all texts, and how they compare.

    Raises:
        SettingsError: see `generate_text`.
        TextdaeError: the film cannot be written.
    """
    loaded = load_text(checkpoint)
    loaded.denoiser.to(choose_device())
    pieces = Pieces(loaded.tokenizer)
    total = 0

    def show(step: int, ids: np.ndarray) -> None:
        nonlocal total
        if step == 0:
            masks = int((ids[0] == loaded.tokenizer.mask_token_id).sum())
            total = step_count(steps, masks, remask)
        if step * _SHOWN % total < _SHOWN:
            logger.info("%3d %s", step, pieces.text(ids[0]))

    result = generate_text(
        loaded, prompt, length, steps, temperature, top_p, order, remask, samples, seed, show
    )
    yield ""
    yield from result.texts
    yield ""
    yield from compare(result, settings, loaded.tokenizer)
    if replay:
        try:
            replay.write_text(film(result, pieces), encoding="utf-8")
        except OSError as error:
            raise TextdaeError(f"--replay {replay}: cannot be written: {reason(error)}") from None
        yield f"film: {replay}"


class Pieces:
    """What each token looks like behind another."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._before = len(str(tokenizer.decode(self._anchor)))
        self._known = dict.fromkeys(tokenizer.all_special_ids, "") | {
            tokenizer.mask_token_id: f" {_HIDDEN * 2}"
        }

    def __getitem__(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = str(self.tokenizer.decode([*self._anchor, token]))[self._before :]
        return self._known[token]

    def text(self, ids: np.ndarray) -> str:
        """Return a text with its masks, in one line. (L,)"""
        return " ".join("".join(self[token] for token in ids.tolist()).split())


def entropy(texts: np.ndarray) -> float:
    """Return the mean entropy of the tokens of a text, in nats: low where it repeats itself. (n, L)"""
    entropies = []
    for text in texts:
        p = np.unique(text, return_counts=True)[1] / len(text)
        entropies.append(-float((p * np.log(p)).sum()))
    return float(np.mean(entropies))


def repeated(texts: np.ndarray, n: int = REPEATED) -> float:
    """Return the share of the n-grams of a text that stand in it before, the mean over the texts. (n, L)"""
    if texts.shape[1] < n:
        return 0.0
    grams = [_grams(text, n) for text in texts]
    return float(np.mean([1 - len(np.unique(each)) / len(each) for each in grams]))


def copied(texts: np.ndarray, train: np.ndarray, n: int = COPIED) -> float:
    """Return the share of the n-grams of the texts (n, L) that the training stream (N,) holds too."""
    if texts.shape[1] < n:
        return 0.0
    grams = np.concatenate([_grams(text, n) for text in texts])
    different = np.unique(grams)
    is_there = np.zeros(len(different), bool)
    for begin in range(0, len(train), _CHUNK):
        there = _grams(train[begin : begin + _CHUNK + n - 1], n)
        place = np.searchsorted(different, there).clip(max=len(different) - 1)
        is_there[place[different[place] == there]] = True
    return float(is_there[np.searchsorted(different, grams)].mean())


def _grams(ids: np.ndarray, n: int) -> np.ndarray:
    """Return a 64-bit hash of each n-gram. (L,) -> (L - n + 1,)"""
    count = max(len(ids) - n + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for place in range(n):
        hashes = mix(hashes + ids[place : place + count].astype(np.uint64))
    return hashes


def stretches(held_out: Blocks | MixedBlocks, length: int, special_ids: list[int]) -> np.ndarray:
    """Return stretches of held-out documents, of as many ordinary tokens as a text that was written. (n, L)

    The first of a document begins with it, the next where that ends.
    """
    document = held_out.document_starts.cumsum()
    ordinary = ~np.isin(held_out.ids, special_ids)
    ids, document = np.asarray(held_out.ids)[ordinary].astype(np.int64), document[ordinary]
    place = np.arange(len(ids)) - np.searchsorted(document, document)
    begins = np.flatnonzero(place % length == 0)
    begins = begins[begins + length <= len(ids)]
    begins = begins[document[begins] == document[begins + length - 1]][:_MOST_STRETCHES]
    return ids[begins[:, None] + np.arange(length)]


def compare(
    result: Generated, settings: TextEvaluateRunSettings, tokenizer: PreTrainedTokenizerFast
) -> Iterator[str]:
    """Yield a line for what was written, and one for held-out text of the same length."""
    length = result.ids.shape[1]
    train = held_out = None
    if "source" in settings.data.model_fields_set:
        try:
            corpus = prepare_text(settings.data, TokenizerSettings(), tokenizer)
            train, held_out = (
                np.asarray(corpus.train.ids),
                stretches(corpus.held_out, length, tokenizer.all_special_ids),
            )
        except SettingsError as error:
            logger.warning("no comparison with the training text: %s", error)
    rows = {f"written, {len(result.ids)} of {length} tokens": result.ids}
    if held_out is not None and len(held_out):
        rows[f"held-out text, {len(held_out):,} of {length} tokens"] = held_out
    for name, texts in rows.items():
        line = f"{name}: entropy {entropy(texts):.2f} nats, repeated {REPEATED}-grams {repeated(texts):.1%}"
        yield line + (
            ""
            if train is None
            else f", {COPIED}-grams copied from the training text {copied(texts, train):.1%}"
        )
    if held_out is not None and not len(held_out):
        yield f"held-out text: no document has {length} tokens, so there is nothing to compare with; take a smaller --length"


def film(result: Generated, pieces: Pieces) -> str:
    """Return a page that plays how the first text filled in; it needs nothing else."""
    mask = pieces.tokenizer.mask_token_id
    frames = [
        [None if token == mask else pieces[token] for token in frame]
        for frame in result.frames[:, 0].tolist()
    ]
    return _PAGE.replace("FRAMES", json.dumps(frames).replace("<", "\\u003c"))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A text out of masks</title>
<style>
body { font: 1.15rem/1.9 Georgia, serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222; background: #fff }
#text { min-height: 12rem; white-space: pre-wrap; overflow-wrap: anywhere }
.hidden { background: #ccc; border-radius: .2em; color: #ccc; margin: 0 .1em }
.new { background: #ffe08a; border-radius: .2em }
#controls { display: flex; gap: 1rem; align-items: center; font: 1rem sans-serif }
#place { flex: 1 }
</style>
<div id="text"></div>
<div id="controls"><button id="play">pause</button>
<input id="place" type="range" min="0" value="0" aria-label="step"><output id="step"></output></div>
<script>
const frames = FRAMES, place = document.getElementById("place"), play = document.getElementById("play");
place.max = frames.length - 1;
function show(step) {
  const text = document.getElementById("text"), before = frames[Math.max(step - 1, 0)];
  text.replaceChildren(...frames[step].map((piece, position) => {
    const span = document.createElement("span");
    span.textContent = piece === null ? "\\u2591\\u2591" : piece;
    span.className = piece === null ? "hidden" : piece !== before[position] ? "new" : "";
    return span;
  }));
  document.getElementById("step").textContent = step + " / " + (frames.length - 1);
}
let timer = null;
function run(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => {
    place.value = (Number(place.value) + 1) % frames.length;
    show(Number(place.value));
  }, Math.max(60, 8000 / frames.length)) : null;
  play.textContent = on ? "pause" : "play";
}
play.onclick = () => run(timer === null);
place.oninput = () => { run(false); show(Number(place.value)); };
show(0);
run(true);
</script></html>
"""
