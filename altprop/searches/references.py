"""The papers behind the searches, as BibTeX."""

REFERENCES: dict[str, str] = {
    "yao1999": """@article{yao1999,
  author = {Yao, Xin and Liu, Yong and Lin, Guangming},
  title = {Evolutionary programming made faster},
  journal = {IEEE Transactions on Evolutionary Computation}, volume = {3}, pages = {82--102}, year = {1999}}""",
    "back1993": """@article{back1993,
  author = {B{\\"a}ck, Thomas and Schwefel, Hans-Paul},
  title = {An overview of evolutionary algorithms for parameter optimization},
  journal = {Evolutionary Computation}, volume = {1}, pages = {1--23}, year = {1993}}""",
    "hansen2016": """@article{hansen2016,
  author = {Hansen, Nikolaus},
  title = {The {CMA} evolution strategy: A tutorial},
  journal = {arXiv preprint arXiv:1604.00772}, year = {2016}}""",
    "holland1975": """@book{holland1975,
  author = {Holland, John H.},
  title = {Adaptation in natural and artificial systems},
  publisher = {University of Michigan Press}, year = {1975}}""",
    "stanley2002": """@article{stanley2002,
  author = {Stanley, Kenneth O. and Miikkulainen, Risto},
  title = {Evolving neural networks through augmenting topologies},
  journal = {Evolutionary Computation}, volume = {10}, number = {2}, pages = {99--127}, year = {2002}}""",
}
