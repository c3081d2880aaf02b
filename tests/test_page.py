"""The page: its figures are those of the commands, and nobody else may ask it anything."""

import asyncio
import base64
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled import image_checkpoint, text_checkpoint
from PIL import Image

from textdae.app.artifacts import open_run
from textdae.app.export import _public_paths, export
from textdae.app.feed import Feed, Unknown
from textdae.commands.evaluate import evaluate
from textdae.commands.keywords import for_checkpoint
from textdae.core.errors import SettingsError
from textdae.core.layout import PAGE
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EvaluateRunSettings, PretrainSettings
from textdae.image.building import build_image_denoiser
from textdae.image.explore import packed
from textdae.image.model_settings import UNetSettings
from textdae.training.evaluation import corrupt_for_evaluation

PORT = 8765


@pytest.fixture(scope="module")
def text_run(tmp_path_factory, wordpiece, corpus_texts):
    folder = tmp_path_factory.mktemp("page")
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in corpus_texts))
    checkpoint = text_checkpoint(folder / "run", wordpiece)
    data = [
        f"data.source={folder}/texts.jsonl",
        "data.block_size=64",
        "data.held_out=0.3",
        f"data.cache_dir={folder}/cache",
    ]
    return checkpoint, [*data, "precision=fp32", "evaluate.max_examples=16"]


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    checkpoint = image_checkpoint(folder / "run", "autoencoder")
    noise = ["evaluate.noise.kind=gaussian", "evaluate.noise.sigma=0.25"]
    return checkpoint, [
        "data.source=digits",
        f"data.cache_dir={folder}/cache",
        *noise,
        "precision=fp32",
        "evaluate.max_examples=16",
    ]


@pytest.fixture(scope="module")
def text_feed(text_run):
    return Feed([open_run(text_run[0], text_run[1])], None, live=True)


@pytest.fixture(scope="module")
def image_feed(image_run):
    return Feed([open_run(image_run[0], image_run[1])], None, live=True)


def ask(feed, path):
    return json.loads(feed.get(path))


def shots(feed, dial):
    """All examples under this kind, level and seed."""
    return [ask(feed, f"run/0/shot/{dial}/{example}") for example in range(8)]


def unpacked(text):
    """Pictures of 8 x 8, in rows."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, 64) / 255


@pytest.mark.parametrize(
    ("feed", "run", "path", "overrides", "level"),
    [
        ("text_feed", "text_run", "words/0.3", [], 0.3),
        ("text_feed", "text_run", "tokens/0.15", ["evaluate.kind=tokens"], 0.15),
        ("text_feed", "text_run", "spans/0.3", ["evaluate.kind=spans"], 0.3),
        ("text_feed", "text_run", "shuffle/0.5", ["evaluate.kind=shuffle"], 0.5),
        ("image_feed", "image_run", "gaussian/0.5", [], 0.5),
        ("image_feed", "image_run", "pixels/0.25", ["evaluate.noise.kind=pixels"], 0.25),
    ],
)
def test_the_figures_are_those_of_evaluate(request, feed, run, path, overrides, level):
    checkpoint, settings = request.getfixturevalue(run)
    answer = ask(request.getfixturevalue(feed), f"run/0/curve/{path}")
    settings = for_checkpoint(
        EvaluateRunSettings,
        checkpoint,
        None,
        [*[s for s in settings if not overrides or "noise" not in s], *overrides],
    )
    result = evaluate(checkpoint, settings, [level]).levels[f"{level:g}"]
    assert answer["scored"] == result["scored"]
    assert answer["held_out"].keys() == result["held_out"].keys()
    for row, values in result["held_out"].items():
        assert answer["held_out"][row] == pytest.approx(values, rel=1e-6), row


def test_a_noise_that_moves_tokens_shows_what_stands_there(text_feed):
    about, shown = ask(text_feed, "run/0/about"), shots(text_feed, "shuffle/0.5/0")
    assert [dial["kind"] for dial in about["dials"]] == ["words", "tokens", "spans", "shuffle"]
    for passage, example in zip(about["clean"], shown, strict=True):
        was = [passage["pieces"][place].strip() for place in example["hidden"]]
        assert sorted(was) == sorted(
            piece.strip().removeprefix("##") for piece in example["shown"]
        )  # moved, none replaced


def test_every_source_of_a_mixture_is_shown(tmp_path, text_run, corpus_texts):
    for name, part in (("one", slice(0, 200)), ("two", slice(200, 400))):
        rows = [json.dumps({"text": text}) for text in corpus_texts[part]]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    sources = [
        f"{{source: {tmp_path}/{name}.jsonl, weight: {weight}}}" for name, weight in (("one", 3), ("two", 1))
    ]
    words = [
        f"data.source=[{', '.join(sources)}]",
        f"data.cache_dir={tmp_path}",
        *text_run[1][1:3],
        *text_run[1][4:],
    ]
    feed = Feed([open_run(text_run[0], words)], None, live=True)
    names = ask(feed, "run/0/about")["names"]
    assert [names.count(name) for name in dict.fromkeys(names)] == [6, 2]
    plane = ask(feed, "run/0/map")
    assert set(plane["classes"]) == set(names)
    assert set(plane["labels"]) == {0, 1}


def test_guesses_are_those_of_denoise(text_feed, text_run):
    from textdae.text.denoise import denoise_text

    about = ask(text_feed, "run/0/about")
    for passage, example in zip(about["clean"], shots(text_feed, "words/0.3/0"), strict=True):
        shown = "".join(
            f" {about['mask']}" if place in example["hidden"] else piece
            for place, piece in enumerate(passage["pieces"])
        )
        if any(passage["words"].count(passage["words"][place]) > 1 for place in example["hidden"]):
            continue  # a word in pieces is not written as so many masks
        denoised = denoise_text(text_run[0], shown)
        for mine, theirs in zip(example["guesses"], denoised.candidates, strict=True):
            assert [token for token, _ in mine] == [each.token for each in theirs]
            assert [p for _, p in mine] == pytest.approx([each.probability for each in theirs], abs=1e-4)


def test_more_noise_hides_more_words_and_shows_none_again(text_feed):
    hidden = [
        [set(each["hidden"]) for each in shots(text_feed, f"words/{level}/3")] for level in (0.15, 0.5, 0.95)
    ]
    for few, many, most in zip(*hidden, strict=True):
        assert few <= many <= most


def test_a_passage_is_whole_and_its_figures_are_those_of_its_guesses(text_feed):
    about, shown = ask(text_feed, "run/0/about"), shots(text_feed, "words/0.5/0")
    baseline = ask(text_feed, "run/0/baseline/words/0.5/0")
    for passage, example, other in zip(about["clean"], shown, baseline["examples"], strict=True):
        assert len(passage["pieces"]) == len(passage["words"])
        for place, guesses, right in zip(
            example["hidden"], example["guesses"], example["right"], strict=True
        ):
            assert right == (guesses[0][0] == passage["pieces"][place].strip().removeprefix("##"))
        assert example["figures"]["right"] == sum(example["right"])
        assert other["figures"]["scored"] == example["figures"]["scored"] == len(other["guesses"])


def test_pictures_are_those_of_the_noise_and_their_figures_follow(image_feed):
    clean = unpacked(ask(image_feed, "run/0/about")["clean"])
    shown = shots(image_feed, "gaussian/0.25/0")
    for one, shot in zip(clean, shown, strict=True):
        (other,), (figures,) = unpacked(shot["rebuilt"]), shot["rebuilt_figures"]
        assert figures["psnr"] == pytest.approx(-10 * math.log10(np.mean((one - other) ** 2)), abs=0.1)
    again = shots(image_feed, "gaussian/0.25/1")
    assert all(one["corrupted"] != other["corrupted"] for one, other in zip(shown, again, strict=True))


def test_an_example_by_itself_is_that_among_all(image_feed):
    explorer = image_feed.explorer(0)
    every = corrupt_for_evaluation(*explorer._questions("gaussian", 0.25, 2)).inputs["pixel_values"]
    for number, shot in enumerate(shots(image_feed, "gaussian/0.25/2")):
        assert shot["corrupted"] == packed(every[[number]].numpy())


def test_a_sentence_and_a_picture_of_ones_own(text_feed, image_feed, corpus_texts):
    text = corpus_texts[0].split(".")[0] + "."
    pieces = text_feed.own(0, {"text": text})
    assert "hidden" not in pieces
    answer = text_feed.own(0, {"text": text, "hidden": [1]})
    assert answer["hidden"] == [place for place, word in enumerate(pieces["words"]) if word == 1]
    assert len(answer["baseline"]["guesses"]) == len(answer["hidden"])
    pixels = base64.b64encode(bytes(range(64))).decode()
    own = image_feed.own(0, {"pixels": pixels, "kind": "gaussian", "level": 0.25, "seed": 0})
    assert own["clean"] == pixels
    assert own["baseline"]["name"]


def test_steps_end_where_everything_is_filled(text_feed, image_feed):
    steps = ask(text_feed, "run/0/steps/words/0.5/0/1")
    assert sorted(place for each in steps["rounds"] for place in each["positions"]) == steps["hidden"]
    chain = ask(image_feed, "run/0/steps/gaussian/0.25/0/1")
    assert len(base64.b64decode(chain["frames"])) == 64 * len(chain["figures"])


def test_crops_of_photographs_are_shown_at_their_size(tmp_path):
    from skimage.data import chelsea, coffee, rocket

    for number, picture in enumerate((chelsea(), coffee(), rocket())):
        Image.fromarray(picture[:90, :120]).save(tmp_path / f"{number}.png")
    denoiser = build_image_denoiser(UNetSettings(hidden_size=8, num_hidden_layers=1), 16, 3, 0)
    denoiser.save_pretrained(tmp_path / "run")
    words = [
        f"data.source={tmp_path}",
        "data.crop=16",
        f"data.cache_dir={tmp_path}/cache",
        "data.held_out=0.3",
    ]
    noise = ["evaluate.noise.kind=gaussian", "evaluate.noise.sigma=0.25", "precision=fp32"]
    feed = Feed([open_run(str(tmp_path / "run"), [*words, *noise])], None, live=True)
    about = ask(feed, "run/0/about")
    held_out = feed.explorer(0)._own.corpus.held_out
    middles = held_out.batch(range(len(held_out)))["pixel_values"].numpy()
    assert about["shape"] == [3, 16, 16]
    assert about["clean"] == packed(middles)
    assert ask(feed, "run/0/map")["pixels"] == packed(middles)


def test_a_map_is_the_plane_of_largest_variance(text_feed):
    from textdae.core.explorer import in_the_plane

    vectors = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)).numpy() * [9, 1, 4, 1, 1]
    plane, shares = in_the_plane(vectors)
    values = np.sort(np.linalg.eigvalsh(np.cov(vectors.T)))[::-1]
    assert np.var(plane, axis=0, ddof=1) == pytest.approx(values[:2])
    assert shares == pytest.approx((values / values.sum())[:2])
    for few in (vectors[:1], vectors[:, :1]):  # one example; a code of one number
        plane, shares = in_the_plane(few)
        assert plane.shape == (len(few), 2)
        assert len(shares) == 2
    assert len(ask(text_feed, "run/0/map")["texts"]) > 5


HOSTILE_PATHS = [
    "", "run", "run/9/about", "run/-1/about", "run/0/secret", "run/0/shot/words/0.15/0", "run/0/shot/words/1e400/0/0",
    "run/0/shot/words/nan/0/0", "run/0/shot/words/0.150001/0/0", "run/0/shot/__class__/0.15/0/0", "run/0/shot/words/0.15/-1/0",
    "run/0/shot/words/0.15/99999999999999999999/0", "run/0/shot/words/0.15/0/8", "run/0/steps/words/0.15/0/99", "run/0/replay/../../etc/passwd",
    "run/0/replay/1", "../../../etc/passwd", "run/0/about/" * 40, "run/\u0660/about",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_only_what_the_page_offers_is_answered(text_feed, path):
    with pytest.raises(Unknown) as refusal:
        text_feed.get(path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "given",
    [{}, {"text": 5}, {"text": " "}, {"text": "a" * 601}, {"text": "a word", "hidden": "all"}, {"text": "a", "kind": "?"}, {"text": "\x00", "hidden": [[]]}],
)  # fmt: skip
def test_a_bad_sentence_is_one_line(text_feed, given):
    with pytest.raises(SettingsError) as refusal:
        text_feed.own(0, given)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("pixels", [None, "!", base64.b64encode(bytes(63)).decode(), ["a"]])
def test_a_bad_picture_is_one_line(image_feed, pixels):
    with pytest.raises(SettingsError, match="base64 of 1 x 8 x 8"):
        image_feed.own(0, {"pixels": pixels, "kind": "gaussian", "level": 0.25})


class Stub:
    runs = [None]

    def get(self, path):
        return b'{"path": 1}'

    def own(self, index, given):
        return {"given": len(given)}


def request(method, path, headers, body=b"", port=PORT):
    """Ask the ASGI application as a server would; return status, headers and content."""
    pytest.importorskip("starlette")
    from textdae.app.server import application

    sent, chunks = [], [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]

    async def receive():
        if not chunks:
            await asyncio.Event().wait()  # the connection stays open
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers], "scheme": "http",
        "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", port), "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(application(Stub(), port)(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), content


HOST = ("Host", f"127.0.0.1:{PORT}")
JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/api/about", [], b"", 421),
        ("GET", "/api/about", [("Host", "evil.example")], b"", 421),
        ("GET", "/api/about", [("Host", f"evil.example:{PORT}")], b"", 421),
        ("GET", "/", [("Host", f"127.0.0.1.evil.example:{PORT}")], b"", 421),
        ("GET", "/api/about", [HOST, ("Host", "evil.example")], b"", 421),
        ("GET", "/api/about", [("Host", "127.0.0.1")], b"", 421),
        ("GET", "/api/about", [HOST, ("Origin", "https://evil.example")], b"", 403),
        ("GET", "/api/about", [HOST, ("Origin", "null")], b"", 403),
        ("GET", "/api/about", [HOST, ("Origin", f"https://127.0.0.1:{PORT}")], b"", 403),
        ("GET", "/api/about", [HOST, ("Origin", f"http://localhost:{PORT}")], b"", 403),
        ("GET", "/api/about", [HOST, ("Sec-Fetch-Site", "cross-site")], b"", 403),
        ("GET", "/api/about", [HOST, ("Sec-Fetch-Site", "same-site")], b"", 403),
        ("PUT", "/api/about", [HOST], b"", 405),
        ("OPTIONS", "/api/run/0/own", [HOST], b"", 405),
        ("TRACE", "/", [HOST], b"", 405),
        ("GET", "/api/" + "a" * 600, [HOST], b"", 414),
        ("POST", "/api/run/0/own", [HOST, JSON, ("Content-Length", "99999999999")], b"", 413),
        ("POST", "/api/run/0/own", [HOST, JSON, ("Content-Length", "-1")], b"", 413),
        ("POST", "/api/run/0/own", [HOST, JSON], b"x" * 300_000, 413),
        ("POST", "/api/run/0/own", [HOST, ("Content-Type", "text/plain")], b"{}", 415),
        ("POST", "/api/run/0/own", [HOST, JSON], b"{", 400),
        ("POST", "/api/run/0/own", [HOST, JSON], b"[" * 100_000, 400),
        ("POST", "/api/run/0/own", [HOST, JSON], b"[1]", 400),
        ("GET", "/api/run/7/log", [HOST], b"", 404),
    ],
)
def test_hostile_requests_are_refused_in_one_line(method, path, headers, body, status):
    got, sent, content = request(method, path, headers, body)
    assert got == status
    assert list(json.loads(content)) == ["error"]
    assert b"\n" not in content
    assert len(content) < 300
    assert b"access-control-allow-origin" not in sent
    assert sent[b"content-security-policy"].startswith(b"default-src 'self'")


@pytest.mark.parametrize(
    "path", ["/../app/server.py", "/..%2f..%2fetc/passwd", "/%2e%2e/server.py", "//etc/passwd"]
)
def test_nothing_but_the_built_files_is_served(path):
    status, _, content = request("GET", path, [HOST])
    assert status in (400, 404)
    assert b"import" not in content
    assert b"root:" not in content


def test_the_page_itself_is_served():
    status, headers, content = request("GET", "/", [HOST])
    assert status == 200
    assert b"<main" in content
    assert headers[b"cache-control"] == b"no-store"
    assert request("GET", "/api/about", [HOST, ("Origin", f"http://127.0.0.1:{PORT}")])[0] == 200
    assert request("POST", "/api/run/0/own", [HOST, JSON], b'{"a": 1}')[2] == b'{"given": 1}'


def test_a_folder_with_something_else_is_never_written_over(image_feed, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds something else"):
        export(image_feed, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_page_is_pushed_as_a_static_space(hub, tmp_path):
    from textdae.core.names import HubName
    from textdae.hub.push import push

    (tmp_path / "data").mkdir()
    for name in ("index.html", "page.js", "data/about.js", "secret.env"):
        (tmp_path / name).write_text(name)
    (tmp_path / PAGE).write_text('{"runs": ["digits"]}')
    done = push(tmp_path, HubName("tester/page"))
    files = hub.repositories["spaces", "tester/page"].files("main")
    assert set(files) - {".gitattributes"} == {"index.html", "page.js", "data/about.js", PAGE, "README.md"}
    assert b"sdk: static" in files["README.md"].content
    assert done.url.endswith("/spaces/tester/page")
    assert hub.commits_of("tester/page", kind="spaces") == 1
    assert push(tmp_path, HubName("tester/page")).files == 0


def test_an_exported_page_has_no_path_of_this_machine(tmp_path):
    apart = {"source": f"{tmp_path}/corpus/texts", "held_out_source": f"{tmp_path}/apart"}
    settings = load(PretrainSettings, None, [f"data.{key}={value}" for key, value in apart.items()])
    run = SimpleNamespace(settings=settings, folder=tmp_path / "runs/mine", shown=f"{tmp_path}/runs/mine")
    hub = SimpleNamespace(settings=load(PretrainSettings), folder=None, shown="OWNER/NAME")
    found = _public_paths(SimpleNamespace(runs=[run, hub]))
    assert found == {
        f"{tmp_path}/corpus/texts": "texts", f"{tmp_path}/apart": "apart", f"{tmp_path}/runs/mine": "mine",
    }  # fmt: skip
