"""Creatures: bodies against the geometry of capsules, motion against textbook mechanics, and two cheats by hand."""

import json
import sys
from math import pi, sin

import numpy as np
import pytest
import torch
from PIL import Image

from altprop import Refused, evolve
from altprop.searches.genome import Points
from altprop.tasks import Creature
from altprop.tasks.creatures import GENES, SHAPINGS, creature
from altprop.tasks.creatures.body import decode
from altprop.tasks.creatures.film import COLOURS, FLOOR, SIZE, film
from altprop.tasks.creatures.mjcf import DENSITY, GAP, world
from altprop.tasks.creatures.shaping import distance, lengths
from altprop.tasks.creatures.simulation import longest, simulate

mujoco = pytest.importorskip("mujoco")
RANDOM = np.random.default_rng(0).normal(size=(200, len(GENES)))


def genome(**genes):
    """All other genes 0."""
    assert set(genes) <= set(GENES)
    return np.array([float(genes.get(name, 0)) for name in GENES])


def limb(index=0, **genes):
    return {f"limb{index}_{name}": value for name, value in {"there": 1, **genes}.items()}


LYING = genome(torso_pitch=-9)
TOWER = genome(
    torso_length=3, torso_radius=-3, torso_pitch=1.5,
    **limb(pair=-1, place=3, elevation=0.55, part0_length=3, part0_axis_y=1, part0_amplitude=-9),
)  # fmt: skip

RATTLE = genome(
    torso_length=-1, torso_radius=1, torso_pitch=2, torso_frequency=9,
    **limb(pair=1, place=-1, elevation=2, part0_length=-2, part0_radius=1, part0_axis_x=-1, part0_axis_y=-1,
           part0_axis_z=-1, part0_amplitude=1, part0_phase=0.5),
)  # fmt: skip


def population(*genomes):
    return Points(torch.tensor(np.stack(genomes)))


def capsule(one):
    return pi * one.radius**2 * one.length + 4 / 3 * pi * one.radius**3


def test_every_vector_is_a_body_that_compiles():
    """200 of them, near and far: as many segments and joints as are said, masses and reaches as capsules have them."""
    sizes = set()
    for scale, vector in zip([1, 3, 30, 1000] * 50, RANDOM, strict=True):
        body = decode(scale * vector, 3.0)
        model = mujoco.MjModel.from_xml_string(world(body, 0.01))
        assert (model.nbody, model.nu, model.nv) == (len(body.segments) + 1, len(body.segments) - 1, model.nu + 6)
        placed = [int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, f"s{i}")) for i in range(len(body.segments))]
        masses = [DENSITY * capsule(s) for s in body.segments]
        np.testing.assert_allclose(model.body_mass[placed], masses, rtol=1e-9)
        for i, one in enumerate(body.segments[1:], 1):
            np.testing.assert_allclose(model.joint(f"j{i}").range, [-one.reach, one.reach])
            assert 0 <= one.parent < i and one.amplitude <= one.reach
        sizes.add(len(body.segments))
    assert {1, 2, 3, 5, 9, 13} <= sizes


def test_a_body_stands_where_it_is_said_to():
    """The ends of all segments before the first step, by MuJoCo and by the genotype; the lowest point at the gap."""
    for vector in RANDOM[:10]:
        body = decode(vector, 3.0)
        ends, radii = simulate(body, 0.01, 0.0, 0.02).at(0)
        want = np.stack([[s.start for s in body.segments], [s.end for s in body.segments]])
        want[:, :, 2] += GAP - body.lowest()
        order = [int(np.abs(want - end[:, None]).sum((0, 2)).argmin()) for end in ends.transpose(1, 0, 2)]
        assert sorted(order) == list(range(len(order)))  # MuJoCo numbers limb after limb
        np.testing.assert_allclose(ends, want[:, order], atol=1e-6)
        assert (ends[:, :, 2] - radii).min() == pytest.approx(GAP, abs=1e-6)
        assert (ends[:, :, 2] + radii).max() - GAP == pytest.approx(body.height(), abs=1e-6)


def test_genes_by_hand():
    """A torso and one pair with two segments each: every number from the ranges in the table, at 0 their middle."""
    body = decode(genome(torso_pitch=-99, **limb(pair=1, second=1, bend=99, place=99, opposite=1, part0_phase=0.25)), 3)
    torso, right, right_end, left, left_end = body.segments
    assert (torso.length, torso.radius) == pytest.approx((0.55, 0.075)) and body.frequency == pytest.approx(0.9**0.5)
    assert right.start.tolist() == pytest.approx([0.275, 0.075, 0])
    assert right.end.tolist() == pytest.approx([0.275, 0.075 + 0.28, 0])
    assert right_end.end.tolist() == pytest.approx([0.275, 0.355, 0.28])  # bent upwards by 90 degrees
    assert (right.reach, right.amplitude, right.centre) == pytest.approx((0.7, 0.35, 0))
    assert [s.parent for s in body.segments] == [-1, 0, 1, 0, 3]
    assert left_end.end.tolist() == pytest.approx([0.275, -0.355, 0.28]) and left_end.axis[1] == pytest.approx(1)
    assert (right.phase, left.phase) == pytest.approx((pi / 4, 5 * pi / 4))
    t = np.array([0.1, 0.7])
    want = [[0.35 * sin(2 * pi * body.frequency * time + s.phase) for s in body.segments[1:]] for time in t]
    np.testing.assert_allclose(body.angles(t), want, atol=1e-9)


def test_a_limb_of_its_own_stands_in_the_middle():
    """Whatever its genes say of the azimuth."""
    for vector in RANDOM[:20]:
        free = dict(zip(GENES, vector, strict=True)) | {f"limb{i}_pair": -1 for i in range(3)}
        assert all(s.start[1] == s.end[1] == 0 for s in decode(genome(**free), 3.0).segments)


def test_pairs_move_as_mirror_images():
    """The same angle of both joints, in any direction: MuJoCo puts their ends on two sides of one plane."""
    for axis in np.eye(3):
        axes = {f"part{part}_axis_{x}": value for part in range(2) for x, value in zip("xyz", axis, strict=True)}
        body = decode(genome(**limb(pair=1, second=1, azimuth=0.5, elevation=-0.4, bend=0.7, **axes)), 3.0)
        course = simulate(body, 0.01, 0.0, 0.02)
        course.states[0, 8:12] = 0.3, -0.4, 0.3, -0.4  # angles: right and its end, left and its end
        ends, _ = course.at(0)
        np.testing.assert_allclose(ends[:, 1:3] * [1, -1, 1], ends[:, 3:5], atol=1e-9)


def test_longest_distance_by_points_on_the_capsules():
    """None of many points on two capsules is farther from another, and some nearly are; one alone is its length."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        ends, radii = rng.normal(size=(2, 2, 3)), rng.uniform(0.1, 0.9, 2)
        sphere = rng.normal(size=(150, 3))
        sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
        points = np.concatenate([ends[e, b] + radii[b] * sphere for e in range(2) for b in range(2)])
        most = np.linalg.norm(points[:, None] - points, axis=2).max()
        assert 0.95 * longest(ends, radii) < most <= longest(ends, radii)
    assert longest(np.array([[[0.0, 0, 0]], [[0, 2.0, 0]]]), np.array([0.5])) == 3
    ball = longest(np.zeros((2, 2, 3)), np.array([0.5, 2]))
    assert ball == 4


def test_what_slides_stops_by_friction():
    """A lying torso pushed along its axis to v stops after v^2 / (2 mu g), mu = 1."""
    model = mujoco.MjModel.from_xml_string(world(decode(LYING, 3.0), 0.001))
    data = mujoco.MjData(model)
    for _ in range(200):
        mujoco.mj_step(model, data)
    before, data.qvel[0] = float(data.qpos[0]), 2.0
    for _ in range(600):
        mujoco.mj_step(model, data)
    assert data.qpos[0] - before == pytest.approx(2.0**2 / (2 * 9.81), rel=0.03)


def test_what_falls_falls_by_gravity():
    """A centre of mass in the air: g t^2 / 2, whatever the muscles do."""
    vector = np.array([*RANDOM[4]])
    body = decode(vector, 3.0)
    model = mujoco.MjModel.from_xml_string(world(body, 0.001))
    data = mujoco.MjData(model)
    data.qpos[2] += 5
    mujoco.mj_forward(model, data)
    start = data.subtree_com[1].copy()
    for _ in range(500):
        data.ctrl[:] = body.angles(np.array([data.time]))[0]
        mujoco.mj_step(model, data)
    assert model.nu > 0 and np.abs(data.qvel[6:]).max() > 0.1
    np.testing.assert_allclose(data.subtree_com[1] - start, [0, 0, -9.81 * 0.5**2 / 2], atol=0.01)


def test_who_does_nothing_gets_nowhere():
    """A lying torso without limbs, and bodies whose muscles stand still."""
    task = Creature()
    assert abs(task.value(LYING)) < 1e-3
    still = [name for name in GENES if name.endswith(("amplitude", "centre"))]
    lazy = [dict(zip(GENES, v, strict=True)) | {n: -99 * n.endswith("amplitude") for n in still} for v in RANDOM[:6]]
    assert max(Creature("vibrating").value(genome(**genes)) for genes in lazy) < 0.5


def test_fitness_is_of_each_by_itself():
    """Bodies of different make in one generation, in any order, in threads, twice: the same numbers."""
    task, some = Creature(seconds=1.0), population(*RANDOM[:6])
    once = task.fitness(some)
    assert len({len(task.body(v).segments) for v in RANDOM[:6]}) > 1 and once.dtype == torch.float64
    assert torch.equal(task.fitness(population(*RANDOM[5::-1])).flip(0), once)
    assert torch.equal(Creature(seconds=1.0, threads=3).fitness(some), once)
    assert once.tolist() == [task.value(vector) for vector in RANDOM[:6]]


def test_the_honest_measure_by_its_equation():
    """The less of two simulations, each way / length - price work / (m g length), by MuJoCo's own numbers."""
    vector, task = RANDOM[9], Creature(seconds=2.0)
    worth = []
    for step in (0.01, 0.005):
        course = simulate(decode(vector, 3.0), step, 2.0, 2.0)
        assert len(course.states) == 1 + len(course.centres) == 1 + round(4 / step)
        rest = round(2 / step)
        way = np.linalg.norm((course.centres[-1] - course.centres[rest - 1])[:2])
        length, mass = longest(*course.at(rest)), sum(DENSITY * capsule(s) for s in decode(vector, 3.0).segments)
        work = np.abs(course.forces * course.turns).sum() * step
        worth.append(way / length - 0.01 * work / (mass * 9.81 * length))
    assert task.value(vector) == pytest.approx(min(worth), rel=1e-9) and worth[0] != worth[1] and work > 1


def test_it_is_held_still_before_it_moves():
    """What rolls on from its fall does not count: the first step after the rest begins without velocities."""
    course = simulate(decode(TOWER, 3.0), 0.01, 0.3, 0.1)
    fast = np.abs(course.states[:, 1 + course.model.nq :]).max(1)
    assert course.settled == 30 and fast[30] > 0.1 and fast[31] < 0.3 * fast[30]
    assert course.states[:, 0].tolist() == pytest.approx([0.01 * row for row in range(41)])


def course_of(states=None, **changes):
    course = simulate(decode(RANDOM[9], 3.0), 0.01, 0.0, 0.1)
    return course._replace(**changes) if states is None else course._replace(states=states(course.states.copy()))


def spoiled(row, column, value):
    def change(states):
        states[row, column] = value
        return states

    return change


@pytest.mark.parametrize("broken", [
    {"states": spoiled(3, 2, np.nan)}, {"states": spoiled(3, 3, np.inf)}, {"states": spoiled(-1, 0, 0.05)},
    {"states": lambda s: np.concatenate([s[:, :-6], s[:, -6:]], 1) + 200},
    {"turns": np.full((10, 4), 1001.0)},
], ids=["nan", "inf", "gave up", "fast", "spun"])  # fmt: skip
def test_a_simulation_that_breaks_has_no_fitness(broken, monkeypatch):
    """It is nan, be it one of the two simulations, and the others have theirs."""
    task, good = Creature(seconds=0.1), course_of()
    assert good.sound and not course_of(**broken).sound
    bad = course_of(**broken)
    monkeypatch.setattr(creature, "simulate", lambda body, step, *_: bad if len(body.segments) == 1 else good)
    fitness = task.fitness(population(LYING, RANDOM[9]))
    assert fitness.isnan().tolist() == [True, False]
    monkeypatch.setattr(creature, "simulate", lambda body, step, *_: bad if step < 0.01 else good)
    assert task.fitness(population(RANDOM[9])).isnan().all()
    assert set(task.told(population(LYING))) >= {"segments"}


def test_a_tower_that_falls_is_far_only_by_the_wrong_measure():
    """Its top comes as far as it is high; its centre, since it lies, comes nowhere."""
    falling, honest = Creature("falling", seconds=2.0), Creature()
    assert falling.value(TOWER) > 0.9 * falling.body(TOWER).height() > 1.3
    assert honest.value(TOWER) < 0.5
    assert falling.value(TOWER) > 3 * falling.value(LYING)


def test_a_rattle_is_far_only_at_the_simulator_s_step():
    """A pair of arms whose muscles turn round at every step: the body slides on its errors.  Half the step at the same
    frequency, and muscles no faster than 3 Hz, are each enough by themselves."""
    task, honest = Creature("vibrating", seconds=4.0), Creature(seconds=4.0)
    far = task.value(RATTLE)
    assert task.body(RATTLE).frequency == pytest.approx(50, rel=1e-3) and far > 1.2
    assert honest.value(RATTLE) < 0.2 and honest.body(RATTLE).frequency <= 3
    for against in ({"halved": True}, {"fastest": 3.0}):
        task.shaping = SHAPINGS["vibrating"]._replace(**against)
        assert task.value(RATTLE) < 0.6 * far, against


def test_told_is_what_it_did():
    """A torso that lies: every number from its shape."""
    told = Creature(seconds=1.0).told(population(LYING))
    body = decode(LYING, 3.0)
    assert told["body_length"] == pytest.approx(0.55 + 2 * 0.075, rel=1e-6) and told["segments"] == 1
    assert told["height_at_start"] == pytest.approx(0.15, rel=1e-6) and told["mean_height"] == pytest.approx(
        0.075, abs=3e-3
    )
    assert told["work"] == 0 and told["contact"] > 0.9 and told["frequency"] == pytest.approx(body.frequency)
    assert max(told["distance"], told["body_lengths"], told["top_speed"]) < 0.01
    json.dumps(told)


def test_told_of_one_that_moves():
    """The same way as the fitness has it, at both steps."""
    told, task = Creature(seconds=2.0).told(population(RANDOM[9])), Creature(seconds=2.0)
    course, finer = task.course(RANDOM[9]), task.course(RANDOM[9], 0.005)
    assert told["body_lengths"] == lengths(course) == distance(course) / told["body_length"] and lengths(course) > 0.05
    assert told["body_lengths_at_half_the_step"] == lengths(finer) and told["work"] == course.work > 0
    assert told["top_speed"] * 2 > told["distance"] and 0 < told["contact"] <= 1


def test_a_film_shows_the_body_on_its_floor(tmp_path):
    """As many pictures as its time has, and in the middle of each the torso, above the floor's line; it repeats."""
    course = Creature(seconds=1.0).course(LYING)
    film(course, tmp_path / "one.gif")
    with Image.open(tmp_path / "one.gif") as picture:
        assert (picture.size, picture.info["loop"]) == (SIZE, 0)
        red = tuple(int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5))
        scale, shown = SIZE[0] / 4 / 0.7, 0
        for frame in range(picture.n_frames):  # pictures that are alike are one, and stay longer
            picture.seek(frame)
            shown += picture.info["duration"]
            seen = np.array(picture.convert("RGB")).astype(int)
            rows, columns = np.nonzero(np.abs(seen - red).sum(2) < 12)
            assert rows.max() == pytest.approx(FLOOR, abs=3) and np.ptp(rows) == pytest.approx(0.15 * scale, abs=5)
            assert columns.mean() == pytest.approx(SIZE[0] / 2, abs=3) and np.ptp(columns) == pytest.approx(100, abs=5)
    assert shown == 38 * 80


def test_a_run_leaves_a_film_and_what_its_winner_did(tmp_path):
    """By the command's own function; another task leaves none."""
    ran = evolve("ga", "creature", out=tmp_path / "run", generations=2, arguments={"size": 4},
                 task_arguments={"seconds": 0.5})  # fmt: skip
    with Image.open(tmp_path / "run" / "champion.gif") as picture:
        assert picture.n_frames > 20
    assert ran.metrics[-1]["told"]["segments"] >= 1 and ran.metrics[-1]["best"] >= ran.metrics[0]["best"]
    evolve("ga", "sphere", out=tmp_path / "other", generations=1, arguments={"size": 4})
    assert not [*(tmp_path / "other").glob("*.gif")]


def test_what_cannot_be_is_told(monkeypatch):
    """Before anything is simulated."""
    with pytest.raises(
        Refused, match=r"shaping='honst' came; did you mean 'honest'\? there is honest, falling, vibrating"
    ):
        Creature("honst")
    for wrong in ({"seconds": 0.0}, {"seconds": float("nan")}, {"step": 0.1}, {"step": 0.0}, {"threads": 0}):
        with pytest.raises(Refused, match=r"came: give a step of at most \.05 s, more seconds than that, and 1 thread"):
            Creature(**wrong)
    with pytest.raises(Refused, match=rf"a creature of {len(GENES)} genes was answered by \(3,\): give a search over"):
        Creature().fitness(Points(torch.zeros(2, 3)))
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(Refused, match=r"task 'creature' needs mujoco to simulate: pip install 'altprop\[creatures\]'"):
        Creature()
