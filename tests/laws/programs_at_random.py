"""Hypothesis strategies: any variant that JSON can say, and any that the renderer could run.

Rule: numbers have at most six places, as the package stores them.
"""

from hypothesis import strategies as st

from mixbake.core.blends import BLENDS
from mixbake.core.kernels.codes import MAX_ARGS
from mixbake.core.ops import OPS, STEPS
from mixbake.core.programs import units_of
from mixbake.core.variant import CROP_NAMES, MICRO, Crop, Number, Picture, Step, Variant

int32 = st.integers(-(2**31) + 1, 2**31 - 1)
micros = st.one_of(st.integers(-(10**12), 10**12), st.integers(-2 * MICRO, 2 * MICRO)).map(lambda n: n / MICRO)
pictures = st.builds(
    Picture,
    id=st.integers(0, 2**31 - 1),
    left=st.integers(0, 2**31 - 1),
    top=st.integers(0, 2**31 - 1),
    hflip=st.booleans(),
    vflip=st.booleans(),
    gray=st.booleans(),
)
crops = st.builds(Crop, kind=st.sampled_from(CROP_NAMES), left=int32, top=int32, width=int32, height=int32)


@st.composite
def step(draw: st.DrawFn, *, registers: int = 12) -> Step:
    """A step with as many sources (below `registers`) and arguments as its kind takes."""
    do = draw(st.sampled_from(list(STEPS)))
    kind = STEPS[do]
    arity = len(kind.args)
    if kind.sources == 0:
        arity = draw(st.integers(1, MAX_ARGS))
    elif kind.boxed and draw(st.booleans()):
        arity += 4
    numbers: dict[str, st.SearchStrategy[Number]] = {"int": st.integers(-(2**40), 2**40), "micro": micros}
    return Step(
        do=do,
        src=tuple(draw(st.integers(0, registers - 1)) for _ in range(kind.sources or arity)),
        args=tuple(draw(numbers[unit]) for unit in units_of(do, arity)),
    )


@st.composite
def variants(draw: st.DrawFn, *, steps: int = 6) -> Variant:
    """A variant whose table form exists: registers are written before they are read."""
    levels = draw(st.lists(micros, max_size=4))
    return Variant(
        image=draw(st.integers(0, 99_999_999)),
        number=draw(st.integers(0, 9_999)),
        view=draw(st.sampled_from(["mix", "clean"])),
        recipe=draw(st.text(max_size=12)),
        layer=draw(st.one_of(st.none(), st.integers(1, 3))),
        ops=tuple(draw(st.sampled_from(list(OPS))) for _ in levels),
        levels=tuple(levels),
        blends=tuple(draw(st.lists(st.sampled_from(list(BLENDS)), max_size=3))),
        crop=draw(crops),
        flip=draw(st.booleans()),
        picture=draw(st.one_of(st.none(), pictures)),
        steps=tuple(draw(step(registers=i + 2)) for i in range(draw(st.integers(0, steps)))),
    )
