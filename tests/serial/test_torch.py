"""Tensors and modules go out and come back, with what they share."""

from __future__ import annotations

import os
import pickle
import warnings
from types import SimpleNamespace

import pytest

from mirai import mirai
from tests.serial import tasks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own
    torch = pytest.importorskip("torch", reason="torch is not installed: `tox run -e torch` installs it")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch has its own about most types

BASE = torch.arange(1_000_000, dtype=torch.float32).reshape(1000, 1000)
DTYPES = sorted(
    {kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
    - {
        kind
        for name, kind in vars(torch).items()
        if name.startswith(("q", "bits", "uint1", "int1")) and name not in ("int16",)
    },
    key=str,
)

TENSORS = {
    "contiguous": lambda: BASE,
    "row": lambda: BASE[3],
    "transposed": lambda: BASE.T,
    "strided": lambda: BASE[::3, 5::7],
    "expanded": lambda: torch.ones(1).expand(1_000_000),
    "permuted": lambda: BASE.reshape(10, 100, 1000).permute(2, 0, 1),
    "channels last": lambda: torch.ones(2, 3, 8, 8).to(memory_format=torch.channels_last),
    "empty": lambda: torch.zeros(0, 3),
    "scalar": lambda: torch.tensor(3),
    "conjugate": lambda: torch.ones(10, dtype=torch.complex64).mul(1j).conj(),
    "imaginary": lambda: torch.ones(10, dtype=torch.complex64).mul(1j).conj().imag,
    "shared memory": lambda: torch.ones(10).share_memory_(),
    "sparse": lambda: torch.eye(1000).to_sparse(),
    "sparse rows": lambda: torch.eye(10).to_sparse_csr(),
    "sparse columns": lambda: torch.eye(10).to_sparse_csc(),
    "wants a gradient": lambda: torch.ones(3, requires_grad=True),
    "detached": lambda: torch.ones(3, requires_grad=True).detach(),
    "from NumPy": lambda: torch.from_numpy(__import__("numpy").arange(10)),
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_tensors_arrive(tensor, send):
    """Of any layout; what is one object stays one."""
    tensor = tensor()
    first, second = send([tensor, tensor]).value

    assert first is second
    check(first, tensor)


def check(arrived, tensor):
    assert type(arrived) is type(tensor)
    assert (arrived.dtype, arrived.shape, arrived.layout) == (tensor.dtype, tensor.shape, tensor.layout)
    assert (arrived.device, arrived.requires_grad) == (tensor.device, tensor.requires_grad)
    assert arrived.is_leaf
    if tensor.layout is torch.strided:
        assert arrived.stride() == tensor.stride()
    assert torch.equal(arrived.to_dense(), tensor.to_dense())


@pytest.mark.parametrize("n", [3, 100_000])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_arrives(dtype, n, send):
    """Those too that NumPy does not have: bfloat16, the floats of 8 bits."""
    raw = torch.arange(n * dtype.itemsize).to(torch.uint8) % 2
    tensor = raw.view(dtype) if dtype.itemsize > 1 else raw if dtype is torch.uint8 else raw.view(dtype)

    arrived = send({"x": tensor}).value["x"]

    assert arrived.dtype == dtype
    assert torch.equal(arrived.view(torch.uint8), raw)


def test_large_ones_travel_beside_the_pickle(send):
    """Torch puts them in it, through a file in memory."""
    sent = send(BASE)

    assert sent.buffers == 1
    assert sent.size < BASE.nbytes + 1000


def test_loading_copies_nothing(send):
    """Where the memory may be written to: no tensor is read-only."""
    sent = send(BASE)
    sent.data[-4:] = b"\0\0\0\0"

    assert sent.value[-1, -1] == 0


@pytest.mark.parametrize("rows", [10, 1000, 2000])
def test_read_only_memory_is_copied(rows):
    """Writing to it would end the process."""
    from mirai_serial.torch import dump, load

    buffers = []
    pickled = pickle.dumps(dump([torch.cat([BASE, BASE])[:rows]]), 5, buffer_callback=buffers.append)
    (arrived,) = load(pickle.loads(pickled, buffers=[bytes(buffers[0].raw())]))
    arrived[0] = 1

    assert torch.equal(arrived[1:1000], BASE[1:rows])
    assert len(arrived) == rows


def test_a_view_takes_only_what_is_its_own(send):
    """A map over the rows of a tensor must not send all of it each time."""
    sent = send([BASE[3], BASE[5]])

    assert sent.size < 20_000
    assert torch.equal(sent.value[1], BASE[5])


@pytest.mark.parametrize("n", [5, 1000])
def test_rows_far_apart_take_no_more(n, send):
    """What lies between them stays behind; an empty one, and one within another, change nothing."""
    rows = [BASE[i] for i in range(0, 1000, 1000 // n)]
    sent = send([*rows, BASE[:0], BASE[0, :0], *(row[5:7] for row in rows)])

    assert sent.size < n * (4 * 1000 + 500)
    assert all(map(torch.equal, sent.value, [*rows, BASE[:0], BASE[0, :0], *(row[5:7] for row in rows)]))
    sent.value[1].zero_()
    assert not sent.value[n + 3].any()


def test_views_of_one_storage_stay_that(send):
    """Who changes one changes the other."""
    sent = send({"base": BASE, "row": BASE[3], "ints": BASE.view(torch.int32)[5:7], "numbers": BASE[10:12].view(-1)})
    arrived = sent.value
    arrived["base"].zero_()

    assert sent.size < BASE.nbytes + 2000
    assert not any(arrived[name].any() for name in arrived)


def test_parts_that_overlap_stay_that(send):
    """Also where nobody sends the whole."""
    a, b = send((BASE[10:12], BASE[11:13])).value
    a[1] = -1

    assert torch.equal(b[0], a[1])
    assert torch.equal(b[1], BASE[12])


def test_storages_arrive(send):
    """Of whatever type."""
    storage = BASE.untyped_storage()

    arrived = send([storage, BASE[0]]).value

    assert bytes(arrived[0][:400]) == bytes(storage[:400])
    assert arrived[1].untyped_storage().data_ptr() == arrived[0].data_ptr()


def test_quantized_tensors_arrive(send):
    """Scale and zero point too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch.quantize_per_tensor(torch.arange(10.0), 0.1, 3, torch.quint8)
        arrived = send([tensor]).value[0]

    assert torch.equal(arrived.int_repr(), tensor.int_repr())
    assert (arrived.q_scale(), arrived.q_zero_point()) == (tensor.q_scale(), tensor.q_zero_point())


def test_tensors_without_memory_arrive(send):
    """Those on the device "meta"."""
    assert send([torch.empty(3, device="meta")]).value[0].is_meta


def test_a_tensor_of_a_graph_arrives_as_a_leaf(send):
    """The graph stays behind, as with `torch.save`."""
    tensor = torch.ones(3, requires_grad=True) * 2

    arrived = send(tensor).value

    assert arrived.is_leaf
    assert arrived.requires_grad
    assert torch.equal(arrived, tensor)


def test_attributes_of_a_tensor_arrive(send):
    """Libraries put notes there."""
    tensor = torch.ones(3)
    tensor.note = ["text"]

    assert send(tensor).value.note == ["text"]


class Tagged(torch.Tensor):
    """A class of its own."""


def test_tensors_of_other_classes_arrive(send):
    """Torch takes them apart itself."""
    tensor = torch.arange(100_000.0).as_subclass(Tagged)

    sent = send([tensor])

    assert type(sent.value[0]) is Tagged
    assert torch.equal(sent.value[0], tensor)
    assert sent.buffers == 1


class FakeStorage:
    """Memory of a device that is not here."""

    def __init__(self, device, data):
        self.device, self.data = torch.device(device), data
        self._cdata = id(self)


@pytest.fixture
def fake_device(monkeypatch):
    """Stands for the two functions that touch a device: its name, what was fetched from it, what was put there."""
    from mirai_serial import torch as ours

    def fetched(storage, start, stop):
        fake.fetched.append((storage, start, stop))
        return torch.tensor(list(storage.data[start:stop]), dtype=torch.uint8).untyped_storage()

    def put(tensor, device):
        if device not in fake.present:
            raise fake.error
        fake.put.append((device, tensor.nbytes))
        return tensor.clone()

    fake = SimpleNamespace(present=["cuda:1"], fetched=[], put=[], error=RuntimeError("CUDA error: invalid device"))
    monkeypatch.setattr(ours, "_fetched", fetched)
    monkeypatch.setattr(ours, "_put", put)
    return fake


def sent_from(storage, monkeypatch, *spans):
    """Tensors of bytes, each of a span of `storage`, after a journey."""
    from mirai_serial import torch as ours

    tensors = [torch.empty(stop, dtype=torch.uint8)[start:stop] for start, stop in spans]
    places = {id(tensor): (storage, *span) for tensor, span in zip(tensors, spans, strict=True)}
    monkeypatch.setattr(ours, "_span", lambda tensor: places[id(tensor)])
    return ours.load(pickle.loads(pickle.dumps(ours.dump(tensors), 5)))


def test_of_a_devices_memory_each_part_is_fetched_once(fake_device, monkeypatch):
    """And put on the device of that name, once; views of it stay views of one storage."""
    storage = FakeStorage("cuda:1", bytes(range(200)))

    whole, part, apart = sent_from(storage, monkeypatch, (0, 100), (64, 80), (128, 200))
    part[0] = 7

    assert fake_device.fetched == [(storage, 0, 100), (storage, 128, 200)]
    assert fake_device.put == [("cuda:1", 100), ("cuda:1", 72)]
    assert whole.tolist() == [*range(64), 7, *range(65, 100)]
    assert apart.tolist() == [*range(128, 200)]


@pytest.mark.parametrize(
    "error", [RuntimeError("out of memory\nand more"), AssertionError("no CUDA"), NotImplementedError("no backend")]
)
def test_where_a_device_is_missing_the_cpu_does(error, fake_device, monkeypatch):
    """With a warning that says which device, and why; whatever torch raises in that case."""
    fake_device.error = error
    why = str(error).partition("\n")[0]

    with pytest.warns(RuntimeWarning, match=f"a tensor from cuda:7 is on the CPU here: {why}$"):
        (tensor,) = sent_from(FakeStorage("cuda:7", bytes(range(100))), monkeypatch, (0, 100))

    assert tensor.tolist() == [*range(100)]
    assert tensor.device.type == "cpu"


def test_of_an_empty_tensor_nothing_is_fetched(fake_device, monkeypatch):
    """It goes to its device all the same."""
    (tensor,) = sent_from(FakeStorage("cuda:1", b""), monkeypatch, (0, 0))

    assert (fake_device.fetched, fake_device.put, len(tensor)) == ([], [("cuda:1", 0)], 0)


def test_a_device_that_is_not_here():
    """As torch itself says it."""
    from mirai_serial.torch import _arrived

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.warns(RuntimeWarning, match="a tensor from cuda:7 is on the CPU here: "):
        arrived = _arrived("cuda:7", 0, bytes(4))

    assert arrived.storage.device.type == "cpu"


def test_a_device_that_is_here(send):
    """Tensors arrive on the device that they were on."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    tensor = torch.arange(100_000.0, device="cuda")

    check(send([tensor]).value[0], tensor)


# Through shared memory


def mapped_at(address):
    """How the memory there is mapped, as the system says: its permissions, and the file's name."""
    with open("/proc/self/maps") as lines:
        for line in lines:
            where, permissions, _, _, _, *name = line.split(maxsplit=5)
            first, last = (int(number, 16) for number in where.split("-"))
            if first <= address < last:
                return permissions, "".join(name).strip()
    return None


def change(tensor, value):
    """Write to it: what it was, what it is, where it is."""
    before = tensor[0, 0].item(), tensor[-1, -1].item()
    tensor[0, 0] = value
    return before, tensor[0, 0].item(), mapped_at(tensor.data_ptr())


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no shared memory")
def test_large_tensors_are_mapped_and_can_be_written_to(daemon):
    """Not copied before: each page is when it is written to. Nobody else sees that, nor does the next task."""
    for value in (-1.0, -2.0):
        before, after, where = mirai(change, BASE, value).result()

        assert before == (0.0, 999_999.0)
        assert after == value
        assert where == ("rw-p", "/memfd:mirai (deleted)")
    result = mirai(tasks.echo, BASE).result()
    result[0, 0] = -3.0

    assert mapped_at(result.data_ptr()) == ("rw-p", "/memfd:mirai (deleted)")
    assert torch.equal(result[1:], BASE[1:])
    assert BASE[0, 0] == 0


# Modules


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.BatchNorm1d(300), torch.nn.Linear(300, 1))


def test_a_module_arrives_with_its_state(send):
    """Parameters, buffers, and whether it trains."""
    module = model().eval()

    sent = send({"module": module})
    arrived = sent.value["module"]

    assert sent.buffers >= 1
    assert not arrived.training
    assert [name for name, _ in arrived.named_parameters()] == [name for name, _ in module.named_parameters()]
    assert all(map(torch.equal, arrived.state_dict().values(), module.state_dict().values()))
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in arrived.parameters())
    assert torch.equal(arrived(torch.ones(2, 300)), module(torch.ones(2, 300)))


def test_tied_parameters_stay_tied(send):
    """Else training would part them."""
    module = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 300))
    module[1].weight = module[0].weight

    arrived = send(module).value

    assert arrived[1].weight is arrived[0].weight


def test_a_module_can_be_trained_there(daemon):
    """With its optimizer, whose parameters are the module's; and back."""

    def train(module, optimizer):
        import torch

        for _ in range(3):
            optimizer.zero_grad()
            module(torch.ones(4, 300)).square().sum().backward()
            optimizer.step()
        return module, optimizer

    module = model()
    arrived, optimizer = mirai(train, module, torch.optim.Adam(module.parameters())).result()
    expected, _ = train(module, torch.optim.Adam(module.parameters()))

    assert torch.allclose(arrived[0].weight, expected[0].weight)
    assert optimizer.param_groups[0]["params"][0] is arrived[0].weight


def test_tensors_travel_in_closures_and_exceptions(daemon):
    """Wherever they are; the same twice is one."""

    def fail():
        raise LookupError(BASE)

    assert mirai(lambda: BASE.sum().item()).result() == BASE.sum().item()
    assert mirai(tasks.are_one, BASE, BASE).result()
    check(mirai(tasks.echo, BASE[3:5]).result(), BASE[3:5])
    with pytest.raises(LookupError) as caught:
        mirai(fail).result()
    check(caught.value.args[0], BASE)
