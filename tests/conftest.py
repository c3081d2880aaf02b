"""What several test files share: a corpus made on the spot, and small tokenizers trained on it."""

import os
import time

from hub_server import HUB, TOKEN

# These are read when the libraries are imported.
os.environ["HF_ENDPOINT"] = HUB.url
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import random
import uuid

import pytest
from hypothesis import settings
from transformers import PreTrainedTokenizerFast

from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.tokenizer import train_tokenizer

settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")

ALGORITHMS = ("wordpiece", "bpe", "unigram")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test sees the cache of another, or of the person who runs them; none reaches the network."""
    monkeypatch.setenv("TEXTDAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback, empty, and a token that may write there; nobody waits between two tries."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    from textdae.hub.download import fetch, pin

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.001)))
    pin.cache_clear()
    fetch.cache_clear()
    HUB.reset()
    with HUB.serving():
        yield HUB
    close_session()


def make_texts(count: int, seed: int = 0) -> list[str]:
    """English-like documents: sentences of made-up words, the frequent ones short, as in a real text."""
    chance = random.Random(seed)
    onsets = ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "st", "tr", "ch", "pl"]
    rimes = ["a", "e", "i", "o", "an", "en", "er", "ing", "old", "ist", "ent", "ate", "ove", "ick"]
    words = dict.fromkeys(
        "".join(chance.choice(onsets) + chance.choice(rimes) for _ in range(1 + rank // 100))
        for rank in range(400)
    )
    weights = [1 / (rank + 2) for rank in range(len(words))]

    def sentence() -> str:
        said = chance.choices(list(words), weights, k=chance.randint(4, 14))
        if chance.random() < 0.3:
            said.insert(2, str(chance.randint(1, 2000)))
        return " ".join(said).capitalize() + chance.choice([".", ".", ".", "?", "!"])

    return [" ".join(sentence() for _ in range(chance.randint(1, 8))) for _ in range(count)]


class S3Server:
    """An S3 server on loopback, its address and credentials in the environment, and an empty bucket."""

    def __init__(self, monkeypatch) -> None:
        pytest.importorskip("s3fs", reason="pip install s3fs")
        pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
        import s3fs

        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret-word", "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        self.port = 0
        self.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{self.port}")
        self.bucket = f"bucket-{uuid.uuid4().hex[:12]}"  # servers of one process share what they hold
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir(self.bucket)

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def s3(monkeypatch):
    server = S3Server(monkeypatch)
    import s3fs  # there now, or the test is skipped

    yield server
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def corpus_texts() -> list[str]:
    return make_texts(400)


@pytest.fixture(scope="session")
def tokenizers(corpus_texts) -> dict[str, PreTrainedTokenizerFast]:
    """One small tokenizer of each algorithm."""
    return {
        algorithm: train_tokenizer(TokenizerSettings(algorithm=algorithm, vocab_size=400), corpus_texts)
        for algorithm in ALGORITHMS
    }


@pytest.fixture(scope="session")
def wordpiece(tokenizers) -> PreTrainedTokenizerFast:
    return tokenizers["wordpiece"]


@pytest.fixture(scope="session")
def bpe(tokenizers) -> PreTrainedTokenizerFast:
    return tokenizers["bpe"]


@pytest.fixture(scope="session")
def unigram(tokenizers) -> PreTrainedTokenizerFast:
    return tokenizers["unigram"]


@pytest.fixture(params=ALGORITHMS)
def tokenizer(request, tokenizers) -> PreTrainedTokenizerFast:
    """Each of the three in turn."""
    return tokenizers[request.param]
