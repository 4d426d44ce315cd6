"""A generation of NEAT against the package neat-python, round-robin in one process, one thread.

    python benchmarks/topologies.py [--size 1000] [--rounds 5]

Both have neat-python's settings of its XOR example, 1,000 genomes, and evaluate them on the same inputs: XOR's four
patterns, or as many observations of CartPole's size as an episode of 100 steps shows, step after step, since a
controller gets one at a time.  A generation is all of it: evaluation, selection, crossover, mutation, species.  The
first generations are left out, so that nets have grown; the ratio is the median over rounds.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

import altprop

try:
    import neat
except ImportError as error:
    raise SystemExit("neat-python is missing: pip install neat-python") from error

CASES = {"xor": (2, 1, 1, 4), "cartpole": (4, 2, 100, 1)}  # inputs, outputs, steps, samples a step
GROWN = 10  # generations before the first that is timed

CONFIG = """
[NEAT]
fitness_criterion = max
fitness_threshold = 1e9
pop_size = {size}
reset_on_extinction = False
no_fitness_termination = True
[DefaultGenome]
activation_default = sigmoid
activation_mutate_rate = 0.0
activation_options = sigmoid
aggregation_default = sum
aggregation_mutate_rate = 0.0
aggregation_options = sum
bias_init_mean = 0.0
bias_init_stdev = 1.0
bias_init_type = gaussian
bias_max_value = 30.0
bias_min_value = -30.0
bias_mutate_power = 0.5
bias_mutate_rate = 0.7
bias_replace_rate = 0.1
compatibility_disjoint_coefficient = 1.0
compatibility_weight_coefficient = 0.5
conn_add_prob = 0.5
conn_delete_prob = 0.5
enabled_default = True
enabled_mutate_rate = 0.01
feed_forward = True
initial_connection = full_direct
node_add_prob = 0.2
node_delete_prob = 0.2
num_hidden = 0
num_inputs = {inputs}
num_outputs = {outputs}
response_init_mean = 1.0
response_init_stdev = 0.0
response_init_type = gaussian
response_max_value = 30.0
response_min_value = -30.0
response_mutate_power = 0.0
response_mutate_rate = 0.0
response_replace_rate = 0.0
weight_init_mean = 0.0
weight_init_stdev = 1.0
weight_init_type = gaussian
weight_max_value = 30
weight_min_value = -30
weight_mutate_power = 0.5
weight_mutate_rate = 0.8
weight_replace_rate = 0.1
[DefaultSpeciesSet]
compatibility_threshold = 3.0
[DefaultStagnation]
species_fitness_func = max
max_stagnation = 20
species_elitism = 2
[DefaultReproduction]
elitism = 2
survival_threshold = 0.2
"""


def ours(size, inputs, outputs, x):
    """x (T, N, I): T steps, one call of the population each."""
    search = altprop.NEAT(inputs, outputs, size=size, settings="neat_python", seed=0)

    def generation():
        population = search.ask()
        total = sum(population(seen).sum((1, 2)) for seen in x)
        search.tell(-(total - 1).square())

    return generation


def theirs(size, inputs, outputs, x):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config"
        path.write_text(CONFIG.format(size=size, inputs=inputs, outputs=outputs))
        config = neat.Config(
            neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet, neat.DefaultStagnation, str(path)
        )
    population = neat.Population(config)
    rows = x.flatten(0, 1).tolist()

    def fitness(genomes, config):
        for _, genome in genomes:
            net = neat.nn.FeedForwardNetwork.create(genome, config)
            genome.fitness = -((sum(sum(net.activate(row)) for row in rows) - 1) ** 2)

    return lambda: population.run(fitness, 1)


def seconds(generation):
    start = time.perf_counter()
    generation()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'case':10} {'ours ms':>8} {'neat-python ms':>15} {'ratio':>7}")
    for name, (inputs, outputs, steps, samples) in CASES.items():
        x = torch.rand(steps, samples, inputs, generator=torch.Generator().manual_seed(0))
        both = [make(given.size, inputs, outputs, x) for make in (ours, theirs)]
        for generation in both:
            for _ in range(GROWN):
                generation()
        times = [[seconds(generation) for generation in both] for _ in range(given.rounds)]
        own, other = (median(each) for each in zip(*times, strict=True))
        ratio = median(b / a for a, b in times)
        print(f"{name:10} {1e3 * own:8.1f} {1e3 * other:15.1f} {ratio:7.1f}")


if __name__ == "__main__":
    main()
