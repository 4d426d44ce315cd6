"""Feedback alignment on any module graph: ResNets, transformers, the user's own nets."""

from altprop.graph.align import GraphFeedback, align, feedback, report, restore
from altprop.graph.modules import KINDS
from altprop.graph.rule import Aligned

__all__ = ["KINDS", "Aligned", "GraphFeedback", "align", "feedback", "report", "restore"]
