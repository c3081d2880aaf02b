"""Pushing to a Hub that fails in every way: the repository gets all of it in one commit, or nothing, and one line says so."""

import json
import shutil
import time

import pytest
import yaml
from hub_server import READ_ONLY, TOKEN, Fault, regular
from huggingface_hub import CommitOperationAdd, HfApi, constants
from hypothesis import given
from hypothesis import strategies as st
from labelled import image_checkpoint, text_checkpoint
from records import heard

from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.names import HubName, is_local, parse_hub_name
from textdae.hub.client import passes, why
from textdae.hub.download import fetch, pin
from textdae.hub.push import push
from textdae.hub.upload import upload_of

NAME = HubName("tester/small")


@pytest.fixture(scope="module")
def made(tmp_path_factory, wordpiece):
    """What a run leaves, and beside it what is nobody's business."""
    folder = tmp_path_factory.mktemp("made") / "run"
    text_checkpoint(folder, wordpiece)
    (folder / "README.md").write_text(
        '---\nlicense: mit\n---\nLoad it: AutoModel.from_pretrained("path/to/this/folder")\n'
    )
    settings = {
        "output_dir": "/home/somebody/run",
        "data": {
            "source": "/home/somebody/texts",
            "cache_dir": "/home/somebody/cache",
            "held_out_source": "imdb",
        },
        "model": {"type": "modernbert", "from_pretrained": "~/secret/encoder"},
        "hub": {"repo_id": "tester/small"},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    for name in ("log.jsonl", "training_args.bin", "optimizer.pt", ".env", "notes.txt", "modeling_own.py"):
        (folder / name).write_text("nobody's business")
    (folder / "checkpoints" / "step-1").mkdir(parents=True)
    return folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run", symlinks=True)


def files(hub, revision="main", name="tester/small", kind="models"):
    return hub.repositories[kind, name].files(revision)


def test_what_is_pushed_is_what_lies_here_and_only_what_is_allowed(hub, run):
    done = push(run, NAME)
    there = files(hub)
    assert hub.commits_of("tester/small") == 1
    assert hub.is_whole()
    assert hub.repositories["models", "tester/small"].private
    expected = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "settings.yaml",
    }
    assert set(there) == expected | {".gitattributes"}
    for name in expected - {"README.md", "settings.yaml"}:
        assert hub.content(there[name]) == (run / name).read_bytes()
    assert done.name == ("tester/small", hub.repositories["models", "tester/small"].branches["main"])
    assert (done.files, done.bytes) == (6, sum(there[name].size for name in expected))


def test_nothing_of_this_machine_is_told(hub, run):
    push(run, NAME)
    everything = b"".join(hub.content(file) for file in files(hub).values())
    assert b"somebody" not in everything
    assert TOKEN.encode() not in everything
    settings = yaml.safe_load(hub.content(files(hub)["settings.yaml"]))
    assert settings["data"] == {"source": "./texts", "held_out_source": "imdb"}
    assert settings["model"]["from_pretrained"] == "./encoder"
    assert 'from_pretrained("tester/small")' in hub.content(files(hub)["README.md"]).decode()


def test_the_second_push_sends_nothing(hub, run):
    first = push(run, NAME)
    sent, requests = hub.sent, len(hub.requests)
    second = push(run, NAME)
    assert second == (first.name, 0, 0, first.url)
    assert hub.sent == sent
    assert hub.commits_of("tester/small") == 1
    assert all(method == "GET" for method, _, _ in hub.requests[requests:])
    shutil.copytree(run, run.parent / "copy", symlinks=True, ignore=shutil.ignore_patterns("pushed.json"))
    assert push(run.parent / "copy", NAME).files == 0  # nor from a folder that has never been pushed


def test_only_what_has_changed_is_sent_and_what_is_gone_goes(hub, run):
    push(run, NAME)
    (run / "metrics.json").write_text("{}")
    push(run, NAME)
    assert hub.commits_of("tester/small") == 2
    assert "metrics.json" in files(hub)
    (run / "metrics.json").unlink()
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"new": 1}))
    before = hub.sent
    assert push(run, NAME).files == 2
    assert hub.sent - before == (run / "config.json").stat().st_size
    assert "metrics.json" not in files(hub)


def test_a_branch_has_its_own_state(hub, run):
    push(run, NAME)
    (run / "metrics.json").write_text("{}")
    done = push(run, HubName("tester/small", "step-10"))
    assert "metrics.json" in files(hub, "step-10")
    assert "metrics.json" not in files(hub)
    assert done.url.endswith("/tester/small/tree/step-10")
    assert (
        'from_pretrained("tester/small", revision="step-10")'
        in hub.content(files(hub, "step-10")["README.md"]).decode()
    )


def test_public_only_when_it_is_said(hub, run):
    push(run, HubName("tester/open"), public=True)
    assert not hub.repositories["models", "tester/open"].private
    with pytest.raises(SettingsError, match="tester/open exists and is public"):
        push(run, HubName("tester/open"))


ENDPOINTS = [
    ("GET", "^/api/models/tester/small(/revision/.+)?$"),
    ("POST", "^/api/repos/create$"),
    ("POST", "/branch/"),
    ("GET", "/tree/"),
    ("POST", "^/api/validate-yaml$"),
    ("POST", "/preupload/"),
    ("POST", "/objects/batch$"),
    ("PUT", "^/_lfs/"),
    ("POST", "^/_verify$"),
    ("POST", "/commit/"),
]
WRONG = [
    ("status", 500),
    ("status", 503),
    ("status", 429),
    ("refuse", 0),
    ("lose", 0),
    ("half", 0),
    ("slow", 0),
]


@pytest.mark.parametrize(("what", "status"), WRONG, ids=lambda value: str(value))
@pytest.mark.parametrize(("method", "path"), ENDPOINTS, ids=lambda value: value)
def test_what_passes_is_survived(hub, run, method, path, what, status):
    """70 faults: every answer that a push waits for fails once."""
    fault = Fault(method, path, what, status=status)
    hub.faults = [fault]
    name = HubName("tester/small", "step-10")
    done = push(run, name)
    assert fault.met == 1
    assert done.files == 6
    assert hub.is_whole()
    assert hub.commits_of("tester/small", "step-10") == 1
    assert hub.content(files(hub, "step-10")["model.safetensors"]) == (run / "model.safetensors").read_bytes()
    assert push(run, name).files == 0


# What was sent is known by its hash, and a card may go unchecked: neither stands in the way.
NEEDED = [(method, path) for method, path in ENDPOINTS if "verify" not in path and "yaml" not in path]


@pytest.mark.parametrize(("method", "path"), NEEDED, ids=lambda value: value)
def test_what_does_not_pass_is_one_line_and_leaves_the_repository_as_it_was(hub, run, method, path):
    push(run, HubName("tester/small"))
    (run / "metrics.json").write_text("{}")
    (run / "loss.png").write_bytes(b"\x89PNG")
    hub.faults = [Fault(method, path, "status", times=1000)]
    name = HubName("tester/small", "step-10") if "branch" in path else NAME
    if "create" in path:
        name = HubName("tester/other")
    with pytest.raises(TextdaeError) as raised:
        push(run, name)
    assert str(raised.value).startswith(f"{name}: it answers with an error of its own (status 503)")
    assert "\n" not in str(raised.value)
    assert hub.commits_of("tester/small") == 1
    assert "metrics.json" not in files(hub)
    hub.faults = []
    assert push(run, name).files > 0


def test_a_commit_in_between_is_refused_unless_told(hub, run):
    def somebody():
        hub.before_commit = None
        hub.commit("models", "tester/small", "main", {"theirs.txt": regular(b"theirs")})

    hub.before_commit = somebody
    with pytest.raises(SettingsError, match="has moved just now: somebody else is writing there"):
        push(run, NAME)
    assert set(files(hub)) == {".gitattributes", "theirs.txt"}
    hub.before_commit = somebody
    push(run, NAME, force=True)
    assert {"theirs.txt", "model.safetensors"} <= set(files(hub))


def test_commits_in_between_without_end_are_given_up(hub, run):
    """By force it is pushed over them, but not for ever."""
    commits = []

    def somebody():
        commits.append(hub.commit("models", "tester/small", "main", {"n": regular(b"%d" % len(commits))}))

    push(run, NAME)
    (run / "metrics.json").write_text("{}")
    hub.before_commit = somebody
    with pytest.raises(SettingsError, match="has moved just now: somebody else is writing there"):
        push(run, NAME, force=True)
    assert len(commits) == 5


@pytest.mark.parametrize(("status", "waits"), [("refuse", 3), ("status", 31)])
def test_a_hub_that_is_away_is_waited_for_as_long_as_told_a_busy_one_longer(
    hub, run, monkeypatch, status, waits
):
    hub.faults = [Fault("GET", "", status, times=10**6)]
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(TextdaeError):
        push(run, NAME, patience=5)
    assert sum(waited) == waits


def test_a_repository_that_moved_since_is_refused_unless_told(hub, run):
    push(run, NAME)
    hub.commit("models", "tester/small", "main", {"README.md": regular(b"a better card")})
    (run / "metrics.json").write_text("{}")
    with pytest.raises(
        SettingsError, match=r"has moved since the last push from here \(\w{8} -> \w{8}\); --force"
    ):
        push(run, NAME)
    push(run, NAME, force=True)
    assert hub.content(files(hub)["README.md"]) != b"a better card"


def test_a_name_that_is_taken_is_refused_unless_told(hub, run, tmp_path):
    other = image_checkpoint(tmp_path / "other", "unet")
    push(tmp_path / "other", NAME)
    with pytest.raises(SettingsError, match=r"tester/small is taken: it holds config.json and \d more"):
        push(run, NAME)
    assert hub.commits_of("tester/small") == 1
    assert other
    push(run, NAME, force=True)
    assert hub.content(files(hub)["model.safetensors"]) == (run / "model.safetensors").read_bytes()
    assert "preprocessor_config.json" not in files(hub)


def test_a_repository_that_was_made_by_hand_is_not_taken(hub, run):
    HfApi().create_repo("tester/small", private=True)
    card = CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=b"---\nlicense: mit\n---\n")
    HfApi().create_commit("tester/small", [card], commit_message="by hand")
    assert push(run, NAME).files == 6


@pytest.mark.parametrize(
    ("token", "name", "says"),
    [
        (None, "tester/small", "no token; run `hf auth login`, or set HF_TOKEN"),
        ("hf_wrong", "tester/small", "the token is refused: expired, or revoked?"),
        (
            READ_ONLY,
            "tester/small",
            "this token has no right to do that there; `hf auth login` takes a new one that may write",
        ),
        (TOKEN, "somebody-else/small", "this token has no right to do that there"),
    ],
)
def test_without_the_right_it_is_one_line(hub, run, monkeypatch, token, name, says):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SettingsError) as raised:
        push(run, HubName(name))
    assert str(raised.value).startswith(f"{name}: ")
    assert says in str(raised.value)
    assert not hub.repositories
    assert (token or "hf_") not in str(raised.value)


def test_a_token_that_expires_on_the_way_changes_nothing(hub, run):
    push(run, NAME)
    (run / "metrics.json").write_text("{}")
    hub.faults = [Fault("POST", "/preupload/", "status", status=401)]
    with pytest.raises(SettingsError, match="the token is refused"):
        push(run, NAME)
    assert hub.commits_of("tester/small") == 1
    assert push(run, NAME).files == 1


def test_a_pinned_name_is_no_place_to_push_to(hub, run):
    done = push(run, NAME)
    with pytest.raises(SettingsError, match="a commit never changes"):
        push(run, done.name)


@pytest.mark.parametrize("name", ["notes.txt", "nothing"])
def test_what_is_no_model_is_refused(hub, run, name):
    (run / "nothing").mkdir()
    with pytest.raises(SettingsError, match=r"of files only vectors|no config.json"):
        upload_of(run / name, False, NAME)
    with pytest.raises(
        SettingsError, match=r"no training_state.json; the training state lies in checkpoints"
    ):
        upload_of(run, True, NAME)


DOWNLOADS = [
    ("GET", "^/api/models/tester/small"),
    ("GET", "/tree/"),
    ("HEAD", "/resolve/.+/config.json$"),
    ("GET", "/resolve/.+/config.json$"),
    ("HEAD", "/resolve/.+/model.safetensors$"),
    ("GET", "^/_lfs/"),
]


@pytest.mark.parametrize(("what", "status"), WRONG, ids=lambda value: str(value))
@pytest.mark.parametrize(("method", "path"), DOWNLOADS, ids=lambda value: value)
def test_a_download_survives_what_passes(hub, run, method, path, what, status):
    """42 faults more."""
    done = push(run, NAME)
    hub.faults = [fault := Fault(method, path, what, status=status)]
    folder = fetch(NAME)
    assert folder.name == done.name.revision
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    assert fault.met == 1


def test_a_name_keeps_its_meaning_while_the_program_runs_and_when_the_hub_is_gone(hub, run, monkeypatch):
    first = push(run, NAME)
    assert pin(NAME) == first.name
    (run / "metrics.json").write_text("{}")
    second = push(run, NAME)
    assert pin(NAME) == first.name != second.name
    pin.cache_clear()
    fetch.cache_clear()
    assert pin(NAME) == second.name
    fetch(NAME)
    pin.cache_clear()
    fetch.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pin(NAME) == second.name
    assert (fetch(NAME) / "metrics.json").exists()
    with pytest.raises(TextdaeError, match="tester/other on the Hub: it cannot be reached"):
        fetch(HubName("tester/other"))


def test_only_what_may_be_needed_is_downloaded(hub, run):
    push(run, NAME)
    extra = {
        "pytorch_model.bin": regular(b"\0"),
        "modeling_own.py": regular(b"1"),
        "training_state.json": regular(b"{}"),
    }
    hub.commit("models", "tester/small", "main", extra)
    folder = fetch(NAME)
    assert {path.name for path in folder.iterdir()} == set(files(hub)) - {
        *extra,
        ".gitattributes",
    }
    assert (fetch(NAME, training_state=True) / "training_state.json").exists()


def test_a_link_out_of_the_folder_is_refused(hub, run):
    (run / "vocab.txt").symlink_to("/etc/hostname")
    with pytest.raises(SettingsError, match=r"vocab.txt is a link out of the folder"):
        push(run, NAME)
    assert not hub.repositories


def test_the_main_branch_by_its_name_is_the_main_branch(hub, run, tmp_path):
    push(run, NAME)
    image_checkpoint(tmp_path / "other", "unet")
    with pytest.raises(SettingsError, match="tester/small is taken"):
        push(tmp_path / "other", HubName("tester/small", "main"))
    assert push(run, HubName("tester/small", "main")).files == 0


def test_a_branch_that_was_made_and_not_written_is_still_ours_when_main_moves(hub, run):
    push(run, NAME)
    hub.faults = [Fault("POST", "/commit/", "status", times=1000)]
    (run / "metrics.json").write_text("{}")
    with pytest.raises(TextdaeError):
        push(run, HubName("tester/small", "step-10"))
    hub.faults = []
    push(run, NAME)
    assert push(run, HubName("tester/small", "step-10")).files == 2  # the card says which branch it is of


def test_a_repository_that_was_made_anew_is_not_one_that_moved(hub, run):
    push(run, NAME)
    hub.repositories.clear()
    HfApi().create_repo("tester/small", private=True)
    assert push(run, NAME).files == 6


def test_a_private_repository_stays_private_and_that_is_said(hub, run):
    push(run, NAME)
    with heard() as said:
        push(run, NAME, public=True)
    assert said == ["tester/small is private and stays so; the settings on its page change that"]
    assert hub.repositories["models", "tester/small"].private


@pytest.mark.parametrize("spoil", ["no weights", "no config", "settings", "card", "vectors"])
def test_what_is_half_there_is_one_line(hub, run, tmp_path, spoil):
    path = run
    if spoil == "no weights":
        (run / "model.safetensors").rename(run / "pytorch_model.bin")
    elif spoil == "no config":
        (run / "config.json").write_text("[]")
    elif spoil == "settings":
        (run / "settings.yaml").write_text("a: &a [1]\nb: *a\n")
    elif spoil == "card":
        (run / "README.md").write_bytes(b"\xff\xfe")
    else:
        path = tmp_path / "v.parquet"
        path.write_bytes(b"nothing of the kind")
    with pytest.raises(SettingsError) as raised:
        push(path, NAME)
    assert "\n" not in str(raised.value)
    assert not hub.repositories


def test_a_hub_that_refuses_is_quoted(hub, run):
    hub.faults = [Fault("POST", "/commit/", "status", status=422)]
    with pytest.raises(SettingsError, match=r"tester/small: it refuses \(status 422\): it went wrong"):
        push(run, NAME)


def test_the_words_of_the_library_for_large_files_are_understood(monkeypatch):
    """It raises a ConnectionError for a refusal, and keeps the status in its words."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    refused = ConnectionError("Error: HTTP status client error (401 Unauthorized) for url (http://cas/x)")
    busy = RuntimeError("Error: HTTP status server error (503 Service Unavailable) for url (http://cas/x)")
    assert not passes(refused)
    assert "the token is refused" in why(refused)
    assert passes(busy)
    assert passes(ConnectionError("reset by peer"))


def test_a_connection_is_given_up_some_day():
    from huggingface_hub.utils import get_session

    from textdae.hub.client import retry

    retry(lambda: None)
    assert get_session().timeout.read == 120


@pytest.mark.parametrize(
    ("name", "local"),
    [("hub:a/b", False), ("a/b", False), ("a/b@refs/pr/1", False), ("./a", True), ("~/a", True), ("a/b/c", True),
     ("texts/*.txt", True), ("a" * 300, False), ("tests", True)],
)  # fmt: skip
def test_a_path_is_told_from_a_repository(name, local, monkeypatch, tmp_path):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    assert is_local(name) is local


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_refused_in_one_line(text):
    refused = ""
    try:
        name = parse_hub_name(text)
        assert parse_hub_name(str(name)) == parse_hub_name(f"hub:{name}") == name
    except SettingsError as error:
        refused = str(error)
    assert "\n" not in refused
