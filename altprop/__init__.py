"""Train neural networks without backpropagation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altprop.core import Claims, Layer, Refused, Rule, Weighted, layers
    from altprop.evolution.experiment import Evolved, evolve
    from altprop.evolution.loading import load
    from altprop.graph import align, feedback, report, restore
    from altprop.optim import NormSGD
    from altprop.registry import register
    from altprop.rules import (
        AFA,
        AOSDTP,
        BRSF,
        DFA,
        DRTP,
        DTP,
        EP,
        EPC,
        EPLIF,
        ES,
        FA,
        FRSF,
        FWDTP,
        FZOO,
        GEVB,
        GHA,
        IFA,
        KP,
        LDRL,
        LPL,
        PC,
        PEPITA,
        RULES,
        SCFF,
        SDFA,
        SDTP,
        SOM,
        SSDFA,
        STDP,
        TP,
        USF,
        WM,
        Backprop,
        BurstCCN,
        Burstprop,
        ForwardForward,
        ForwardGradient,
        ForwardGradientLocal,
        HardWTA,
        Hebb,
        LocalLoss,
        MeZO,
        MonoForward,
        Oja,
        PEPITAHebbian,
        PEPITALocal,
        Shallow,
        SoftHebb,
    )  # fmt: skip
    from altprop.run.experiment import Result, fit
    from altprop.searches import (
        CMAES,
        GA,
        GP,
        NEAT,
        SEARCHES,
        EvolutionaryProgramming,
        HyperNEAT,
        MuCommaLambda,
        MuPlusLambda,
    )
    from altprop.study.compare import Comparison, compare
    from altprop.study.sweep import Sweep, sweep

__version__ = "0.1.0"
__all__ = [
    "AFA", "AOSDTP", "BRSF", "CMAES", "DFA", "DRTP", "DTP", "EP", "EPC", "EPLIF", "ES", "FA", "FRSF", "FWDTP", "FZOO",
    "GA", "GEVB", "GHA", "GP", "IFA", "KP", "LDRL", "LPL", "NEAT", "PC", "PEPITA", "RULES", "SCFF", "SDFA", "SDTP",
    "SEARCHES", "SOM", "SSDFA", "STDP", "TP", "USF", "WM", "Backprop", "BurstCCN", "Burstprop", "Claims", "Comparison",
    "EvolutionaryProgramming", "Evolved", "ForwardForward", "ForwardGradient", "ForwardGradientLocal", "HardWTA",
    "Hebb", "HyperNEAT", "Layer", "LocalLoss", "MeZO", "MonoForward", "MuCommaLambda", "MuPlusLambda", "NormSGD", "Oja",
    "PEPITAHebbian", "PEPITALocal", "Refused", "Result", "Rule", "Shallow", "SoftHebb", "Sweep", "Weighted", "align",
    "compare", "evolve", "feedback", "fit", "layers", "load", "register", "report", "restore", "sweep",
]  # fmt: skip

HOMES = (  # of the names
    "core", "graph", "optim", "rules", "searches", "registry", "evolution.loading", "evolution.experiment",
    "run.experiment", "study.sweep", "study.compare",
)  # fmt: skip
ROOMS = (
    "core", "data", "evolution", "export", "graph", "measure", "nets", "optim", "panels", "rules", "run", "searches",
    "study", "tasks",
)  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A public name or a room, read when it is first asked for: ``altprop --help`` does not wait for torch."""
        if name in ROOMS:
            return import_module(f"altprop.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'altprop' has no attribute '{name}'")
        homes = (vars(import_module(f"altprop.{home}")) for home in HOMES)
        return globals().setdefault(name, next(home[name] for home in homes if name in home.get("__all__", home)))

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *ROOMS})
