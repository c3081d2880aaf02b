"""Layers made for training give what the stock ones give, and the same gradients; the last one where it is wanted."""

import copy
import pickle

import pytest
import torch
from accelerate.utils.dataclasses import get_module_class_from_name
from hypothesis import given
from hypothesis import strategies as st
from test_text_fast_attention import made, one_by_one
from torch import nn
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel
from transformers.models.modernbert.modeling_modernbert import ModernBertRotaryEmbedding

from textdae.core.noise import Corrupted
from textdae.text import fast
from textdae.text.fast import local_attention, packed_attention
from textdae.text.fast.layers import FastLayers
from textdae.text.fast.modernbert import prepare_for_training, select_positions
from textdae.text.model import TextDenoiser

SIZES = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}  # fmt: skip
CPU = torch.device("cpu")


def batch_of(length: int, rate: float = 0.25, rows: int = 3) -> Corrupted:
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (rows, length), generator=chance)
    document = torch.randint(0, 3, (rows, length), generator=chance).sort(1).values
    document[0, -5:] = -1
    where = (torch.rand(rows, length, generator=chance) < rate) & (document >= 0)
    where[1, : length // 2] = False  # rows have different numbers
    return Corrupted({"input_ids": ids, "document": document}, ids, where)


def gradients(denoiser: TextDenoiser, batch: Corrupted) -> list[torch.Tensor]:
    output = denoiser.train()(batch)
    output.loss_sum.backward()
    assert len(output.reconstruction) == int(batch.loss_mask.sum())
    assert not output.reconstruction.requires_grad
    return [output.loss_sum.detach(), *(p.grad for p in denoiser.parameters() if p.grad is not None)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("length", [24, 100])
@pytest.mark.parametrize("implementation", ["eager", "sdpa", local_attention.NAME])
def test_loss_and_gradients_are_those_of_the_whole_layer(implementation, length, bias):
    batch = batch_of(length)
    whole, part = (made(implementation, attention_bias=bias, mlp_bias=bias) for _ in range(2))
    part._layers = FastLayers(part.model.config, prepare_for_training(part.encoder))
    shapes: list[torch.Size] = []
    part.encoder.final_norm.register_forward_hook(lambda module, given, made: shapes.append(made.shape))
    for mine, theirs in zip(gradients(part, batch), gradients(whole, batch), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert shapes == [(3, -(-int(batch.loss_mask.sum(1).max()) // 4) * 4, 16)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # dynamo's own, about itself
def test_compiled_it_is_the_same_and_compiled_once():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    whole, part = made("eager"), made("eager")
    part.optimize_for(CPU, compile=True)
    for rate in (0.5, 0.35, 0.2):
        batch = batch_of(100, rate)
        for denoiser in (whole, part):
            denoiser.zero_grad()
        for mine, theirs in zip(gradients(part, batch), gradients(whole, batch), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


def test_last_layer_on_the_gpu_path_sends_the_right_queries_of_each_document(monkeypatch):
    """Its kernel replaced: which queries belong to which document is ours."""
    asked = []

    def kernel(q, k, v, starts_q, starts_k, longest_q, longest_k, *, scale, window_size=(-1, -1)):
        asked.append((len(q), len(k), longest_q, longest_k))
        if starts_q is starts_k:
            return one_by_one(
                q, k, v, starts_q, starts_k, longest_q, longest_k, scale=scale, window_size=window_size
            )
        parts = []
        for number in range(len(starts_k) - 1):
            some, others = (slice(*starts[number : number + 2].tolist()) for starts in (starts_q, starts_k))
            scores = torch.einsum("qhd,khd->hqk", q[some], k[others]) * scale
            parts.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[others]))
        return torch.cat(parts)

    monkeypatch.setattr(packed_attention, "varlen_attn", kernel)
    batch = batch_of(48)
    whole, part = made("eager"), made(packed_attention.NAME)
    part._layers = FastLayers(part.model.config, prepare_for_training(part.encoder))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        outputs = [denoiser.train()(batch) for denoiser in (whole, part)]
    torch.testing.assert_close(outputs[1].reconstruction, outputs[0].reconstruction, rtol=0.05, atol=0.05)
    assert asked[-1] == (36, 144, 12, 48)


def test_evaluation_is_of_all_positions():
    denoiser, batch = made("eager"), batch_of(48)
    denoiser.optimize_for(CPU, compile=False)
    with torch.no_grad():
        assert denoiser.eval()(batch).embedding.shape == (3, 48, 16)
        assert denoiser.train()(batch).embedding.shape[1] < 48


def test_a_step_that_scores_everything_or_nothing():
    everything = batch_of(24)._replace(loss_mask=torch.ones(3, 24, dtype=torch.bool))
    nothing = everything._replace(loss_mask=torch.zeros(3, 24, dtype=torch.bool))
    for batch in (everything, nothing):
        whole, part = made("eager"), made("eager")
        part._layers = FastLayers(part.model.config, prepare_for_training(part.encoder))
        for mine, theirs in zip(gradients(part, batch), gradients(whole, batch), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@given(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=5))
def test_select_positions_hold_all_that_are_true_in_order(rows):
    where = torch.tensor(rows)
    wanted = select_positions(where, compiled=False)
    most = max(1, max(map(sum, rows)))
    if wanted is None:
        assert most > 8
        return
    assert wanted.shape == (len(rows), 4 if most <= 4 else 8)
    assert (wanted.diff(dim=1) > 0).all()
    for row, found in zip(rows, wanted.tolist(), strict=True):
        assert {at for at, true in enumerate(row) if true} <= set(found)


def test_it_is_for_encoders_whose_layers_it_knows():
    def saved(*kinds, **more):
        sizes = SIZES | {"num_hidden_layers": len(kinds)} | more
        return prepare_for_training(ModernBertModel(ModernBertConfig(**sizes, layer_types=list(kinds))))

    assert saved("sliding_attention", "full_attention")
    assert saved("full_attention")
    assert not saved("full_attention", "sliding_attention")
    assert not saved("sliding_attention")
    assert not prepare_for_training(BertModel(BertConfig(**SIZES)))


def test_never_trains_the_stock_layers_and_says_nothing(caplog):
    stock, never = made("eager"), made("eager")
    never.optimize_for(CPU, compile=False, fast=False)
    assert [type(layer) for layer in never.encoder.layers] == [type(layer) for layer in stock.encoder.layers]
    assert not caplog.records


@pytest.mark.parametrize("supported", [{"transformers": ("90.0", "91.0")}, {"torch": ("0.1", "0.2")}])
def test_versions_that_are_not_supported_fall_back_to_the_stock_layers(monkeypatch, caplog, supported):
    """With one line of the log, and the same gradients."""
    monkeypatch.setattr(fast, "SUPPORTED", supported)
    batch = batch_of(48)
    stock, ours = made("sdpa"), made("sdpa")
    ours.optimize_for(CPU, compile=False)
    assert [type(layer) for layer in ours.encoder.layers] == [type(layer) for layer in stock.encoder.layers]
    (record,) = caplog.records
    assert f"{next(iter(supported))} " in record.getMessage()
    for mine, theirs in zip(gradients(ours, batch), gradients(stock, batch), strict=True):
        assert torch.equal(mine, theirs)


def test_the_installed_versions_are_supported():
    assert fast.unsupported() is None


def test_parts_that_someone_has_put_in_its_place_are_called():
    """FSDP and quantization do; what is computed is the whole layer then."""
    batch, called = batch_of(48), []
    whole, part = made("eager"), made("eager")
    part._layers = FastLayers(part.model.config, prepare_for_training(part.encoder))
    attn = part.encoder.layers[-1].attn
    attn.Wqkv = type("Other", (nn.Linear,), {})(16, 48, bias=False)
    part.load_state_dict(whole.state_dict())
    attn.Wqkv.register_forward_hook(lambda module, given, made: called.append(made.shape))
    for mine, theirs in zip(gradients(part, batch), gradients(whole, batch), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert called == [(3, 48, 48)]


@pytest.mark.parametrize("length", [30, 60])
def test_positions_are_looked_up_as_far_as_they_are_written_down(length):
    stock, ours = (made("eager", rope_theta=50.0).encoder.train() for _ in range(2))
    ours.config.max_position_embeddings = 40
    prepare_for_training(ours)
    assert {cos.shape for cos, _ in ours.rotary_emb.tables.values()} == {(40, 8)}
    positions = torch.randint(0, length, (2, length), generator=torch.Generator().manual_seed(0))
    for kind in ("full_attention", "sliding_attention"):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.zeros(0, dtype=dtype)
            for mine, theirs in zip(
                ours.rotary_emb(x, positions, kind), stock.rotary_emb(x, positions, kind), strict=True
            ):
                assert mine.dtype == dtype
                assert torch.equal(mine, theirs)


def test_positions_beyond_the_table_are_for_the_stock_model_outside_training():
    stock, ours = (made("eager").encoder.eval() for _ in range(2))
    prepare_for_training(ours)
    last = ours.config.max_position_embeddings
    given = {
        "input_ids": torch.tensor([[1, 2, 3]]),
        "position_ids": torch.tensor([[last - 1, last, last + 1]]),
    }
    with torch.no_grad():
        assert torch.equal(ours(**given)[0], stock(**given)[0])


def test_fsdp_finds_the_layers_by_their_stock_name():
    denoiser = made("eager")
    denoiser.optimize_for(CPU, compile=False)
    found = get_module_class_from_name(denoiser, "ModernBertEncoderLayer")
    assert all(isinstance(layer, found) for layer in denoiser.encoder.layers)


def test_angles_that_depend_on_the_length_are_left_to_the_stock_model():
    kinds = {"full_attention", "sliding_attention"}
    scaled = {kind: {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0} for kind in kinds}
    encoder = made("eager", rope_parameters=scaled).encoder
    prepare_for_training(encoder)
    assert type(encoder.rotary_emb) is ModernBertRotaryEmbedding


def test_the_stock_model_is_left_as_it_was():
    """Names, weights, whole embeddings, copies and pickles."""
    denoiser = made("eager").eval()
    model, ids = denoiser.model, batch_of(24).inputs["input_ids"]
    names = list(model.state_dict())
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        denoiser.optimize_for(CPU, compile=False)
        assert list(model.state_dict()) == names
        other, again = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        assert len(model(input_ids=ids, output_hidden_states=True).hidden_states) == 4
        for one in (model, other, again):
            torch.testing.assert_close(one(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)
        nn.init.normal_(other.model.layers[-1].mlp.Wo.weight)  # the copy's own layer is the one that runs
        assert not torch.allclose(other(input_ids=ids).logits, expected, atol=1e-3)
        torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)
