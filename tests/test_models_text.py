"""The text denoiser against the stock models that it takes apart."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForMaskedLM

from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted
from textdae.text.building import build_text_denoiser
from textdae.text.model import TextDenoiser
from textdae.text.model_settings import TextModelSettings

V = 99
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
FAMILIES = {
    "modernbert": {"local_attention": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "bert": {},
    "roberta": {"pad_token_id": 1, "max_position_embeddings": 64},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "electra": {"embedding_size": 32},
    "albert": {"embedding_size": 16},
}  # fmt: skip


def denoiser_of(family: str, attention: str = "sdpa") -> TextDenoiser:
    torch.manual_seed(0)
    sizes = {} if family == "distilbert" else SIZES
    config = AutoConfig.for_model(family, vocab_size=V, **sizes, **FAMILIES[family])
    # The initial 0.02 makes logits so small that any two would be equal to 1e-5.
    config.initializer_range = 0.2
    return TextDenoiser(AutoModelForMaskedLM.from_config(config, attn_implementation=attention)).eval()


def token_ids(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(5, V, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_encode_and_decode_make_up_the_stock_model(family):
    denoiser = denoiser_of(family)
    ids = token_ids(2, 20)
    mask = torch.ones_like(ids)
    mask[1, 15:] = 0
    stock = denoiser.model(input_ids=ids, attention_mask=mask).logits
    ours = denoiser.decode(denoiser.encode({"input_ids": ids, "attention_mask": mask}))
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-6)


LENGTHS = [9, 14, 6]


def packed(ids: list[torch.Tensor], pad: int) -> dict[str, torch.Tensor]:
    document = torch.cat(
        [torch.full((len(part),), index) for index, part in enumerate(ids)] + [torch.full((3,), -1)]
    )
    return {"input_ids": torch.cat([*ids, torch.full((3,), pad)])[None], "document": document[None]}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_documents_in_one_block_do_not_see_each_other(family, attention):
    """Logits and gradients of the packed block against the stock model on each document by itself."""
    denoiser = denoiser_of(family, attention)
    documents = [token_ids(length, seed=length) for length in LENGTHS]
    weight = [torch.randn(length, V, generator=torch.Generator().manual_seed(length)) for length in LENGTHS]

    block = packed(documents, denoiser.model.config.pad_token_id or 0)
    together = denoiser.decode(denoiser.encode(block))[0].split([*LENGTHS, 3])[:3]
    sum((logits * w).sum() for logits, w in zip(together, weight, strict=True)).backward()
    gradients = {n: p.grad.clone() for n, p in denoiser.named_parameters() if p.grad is not None}

    denoiser.zero_grad()
    separate = [denoiser.model(input_ids=document[None]).logits[0] for document in documents]
    sum((logits * w).sum() for logits, w in zip(separate, weight, strict=True)).backward()
    for mine, theirs in zip(together, separate, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    for name, parameter in denoiser.named_parameters():
        if parameter.grad is not None:
            scale = float(parameter.grad.abs().max())
            torch.testing.assert_close(
                gradients[name], parameter.grad, rtol=1e-5, atol=1e-5 * max(1.0, scale)
            )


def test_a_model_that_a_trainer_has_changed_is_taken_apart_too():
    """accelerate puts a `forward` of its own on the model, bound to it; the copy that decodes must not call it."""
    model = denoiser_of("modernbert").model
    ids = token_ids(2, 12)
    expected = model(input_ids=ids).logits
    original = model.forward
    model.forward = lambda *args, **kwargs: original(*args, **kwargs)
    denoiser = TextDenoiser(model)
    torch.testing.assert_close(denoiser.decode(denoiser.encode({"input_ids": ids})), expected)


@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_without_the_explicit_mask_they_do(family):
    """The trap that the mask is there for: stock models take position_ids and let documents leak."""
    denoiser = denoiser_of(family)
    documents = [token_ids(length, seed=length) for length in LENGTHS]
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    leaky = denoiser.model(input_ids=torch.cat(documents)[None], position_ids=positions).logits[
        0, : LENGTHS[0]
    ]
    alone = denoiser.model(input_ids=documents[0][None]).logits[0]
    assert (leaky - alone).abs().max() > 1e-2


def corrupted_batch(where: torch.Tensor) -> Corrupted:
    target = token_ids(*where.shape)
    target[0, 0] = 0  # a target whose id is 0 counts like any other
    inputs = {"input_ids": torch.where(where, 4, target), "document": torch.zeros_like(target)}
    return Corrupted(inputs, target, where)


@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_the_loss_is_the_sum_over_the_scored_positions(family):
    denoiser = denoiser_of(family)
    where = torch.rand(3, 12, generator=torch.Generator().manual_seed(3)) < 0.3
    where[0, 0] = True
    batch = corrupted_batch(where)
    output = denoiser(batch)
    logits = denoiser.model(input_ids=batch.inputs["input_ids"]).logits
    reference = F.cross_entropy(logits[where], batch.target[where], reduction="sum")
    torch.testing.assert_close(output.loss_sum, reference)
    assert int(output.count) == int(where.sum()) == len(output.reconstruction)
    hits = (logits[where].argmax(-1) == batch.target[where]).sum()
    assert denoiser.measures(output.reconstruction, batch.target[where])["accuracy"] == hits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_decodes_few_sizes_and_loses_the_same(family, weighted):
    """Dropout is off; the stock layers see the rows that are scored, and up to 31 more that count for nothing."""
    where = torch.rand(3, 12, generator=torch.Generator().manual_seed(3)) < 0.5
    weights = torch.rand(3, 12, generator=torch.Generator().manual_seed(4)) + 0.5
    batch, found = corrupted_batch(where), []
    if weighted:
        batch = batch._replace(loss_mask=where * weights)
    for training in (False, True):
        denoiser = denoiser_of(family)
        sizes = []
        denoiser.model.get_output_embeddings().register_forward_hook(
            lambda module, given, made, sizes=sizes: sizes.append(made.shape[-2])
        )
        denoiser.training = training
        output = denoiser(batch)
        output.loss_sum.backward()
        assert sizes == [32 if training else int(where.sum())]
        found.append(
            [
                output.loss_sum,
                output.reconstruction,
                *(p.grad for p in denoiser.parameters() if p.grad is not None),
            ]
        )
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_nothing_scored_is_no_loss_and_no_nan():
    denoiser = denoiser_of("modernbert")
    output = denoiser(corrupted_batch(torch.zeros(2, 8, dtype=torch.bool)))
    assert output.loss_sum.item() == 0
    output.loss_sum.backward()
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in denoiser.parameters())


def test_a_block_of_padding_only_is_no_nan():
    denoiser = denoiser_of("modernbert")
    inputs = {"input_ids": torch.zeros(1, 8, dtype=torch.long), "document": torch.full((1, 8), -1)}
    assert denoiser.encode(inputs).isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_muon_gets_the_matrices_of_the_layers_and_nothing_else(family):
    denoiser = denoiser_of(family)
    hidden = {id(p) for p in denoiser.hidden_matrices()}
    named = dict(denoiser.model.named_parameters())
    for name, parameter in named.items():
        in_layer = (
            "layer" in name and "LayerNorm" not in name and "norm" not in name.lower() and parameter.ndim == 2
        )
        projects = name.endswith("embedding_hidden_mapping_in.weight")  # part of ALBERT's encoder
        assert (id(parameter) in hidden) == (in_layer or projects), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # dynamo's own, about itself
def test_the_fast_path_is_the_plain_one_to_rounding():
    plain, fast = denoiser_of("modernbert"), denoiser_of("modernbert")
    batch = corrupted_batch(torch.rand(2, 16, generator=torch.Generator().manual_seed(3)) < 0.4)
    fast.optimize_for(torch.device("cpu"), compile=True)
    losses = []
    for denoiser in (plain, fast):
        denoiser.train()
        output = denoiser(batch)
        output.loss_sum.backward()
        losses.append(output.loss_sum)
    torch.testing.assert_close(*losses)
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_fresh_weights_are_a_function_of_the_seed(wordpiece):
    settings = TextModelSettings(**SIZES)
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    one, two, other = (build_text_denoiser(settings, wordpiece, seed) for seed in (7, 7, 8))
    assert torch.equal(state, torch.random.get_rng_state())
    flat = [torch.cat([p.flatten() for p in d.parameters()]) for d in (one, two, other)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "modernber"}, "no masked language model `modernber`; did you mean `modernbert`?"),
        ({"type": "12345"}, "no masked language model `12345`; e.g. modernbert"),
        (
            {"config": {"hiden_activation": "silu"}},
            "modernbert has no such key; did you mean `hidden_activation`?",
        ),
        ({"type": "fnet"}, "fnet cannot be trained on packed blocks"),
        (
            {"from_pretrained": "/nowhere/at/all"},
            "/nowhere/at/all: no such folder",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(wordpiece, settings, message):
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")) as raised:
        build_text_denoiser(TextModelSettings(**SIZES, **settings), wordpiece, 0)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_gives_its_weights_back(tmp_path, wordpiece):
    denoiser = build_text_denoiser(TextModelSettings(**SIZES), wordpiece, 3)
    denoiser.save_pretrained(tmp_path)
    loaded = build_text_denoiser(TextModelSettings(from_pretrained=str(tmp_path)), wordpiece, 0)
    assert all(torch.equal(a, b) for a, b in zip(denoiser.parameters(), loaded.parameters(), strict=True))


def test_the_stock_head_of_bert_ignores_the_global_count():
    """The trap behind our own loop: `Trainer` hands over num_items_in_batch, ModernBERT divides by it, BERT does not."""
    ids = token_ids(2, 12)
    losses = {}
    for family in ("bert", "modernbert"):
        model = denoiser_of(family).model
        mean, by_count = (
            model(input_ids=ids, labels=ids, **extra).loss.item()
            for extra in ({}, {"num_items_in_batch": 48})
        )
        losses[family] = by_count / mean
    assert losses["bert"] == pytest.approx(1.0)  # as if 24 tokens were all there are
    assert losses["modernbert"] == pytest.approx(0.5)
