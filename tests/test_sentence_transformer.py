"""A pretrained text encoder is a `SentenceTransformer`, by the package itself."""

import numpy as np
import pytest

from textdae.commands.pretrain import pretrain
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.text.encoder import TextEncoder


@pytest.mark.filterwarnings("ignore")  # of the package, about itself
@pytest.mark.parametrize(("options", "width"), [([], 32), (["model.code_size=7"], 7)], ids=["mean", "code"])
def test_the_package_loads_a_run_and_gives_our_vectors(tmp_path, corpus_texts, options, width):
    from sentence_transformers import SentenceTransformer

    (tmp_path / "a.txt").write_text("\n\n".join(corpus_texts[:200]))
    tiny = ["tokenizer.vocab_size=300", "model.hidden_size=32", "model.num_hidden_layers=1", "model.num_attention_heads=2",
            "model.intermediate_size=32", "train.max_steps=3", "train.compile=never", "data.block_size=32"]  # fmt: skip
    given = [f"data.source={tmp_path / 'a.txt'}", f"output_dir={tmp_path / 'run'}", *tiny, *options]
    pretrain(load(PretrainSettings, None, given))
    texts = ["a short one", " ".join(corpus_texts[:3])]
    for folder in (tmp_path / "run", next((tmp_path / "run" / "checkpoints").glob("step-*"))):
        ours = TextEncoder(str(folder), precision="fp32")(texts)
        assert ours.shape == (2, width)
        loaded = SentenceTransformer(str(folder), device="cpu")
        np.testing.assert_allclose(loaded.encode(texts), ours, atol=1e-5)
    assert loaded.max_seq_length == 512
