"""Feedback alignment on any module graph: ResNets, transformers, the user's own nets."""

from altprop.rules.graph.align import GraphFeedback, align, feedback, report, restore
from altprop.rules.graph.modules import KINDS
from altprop.rules.graph.rule import Aligned

__all__ = ["KINDS", "Aligned", "GraphFeedback", "align", "feedback", "report", "restore"]
