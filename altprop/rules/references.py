"""The papers behind the rules, as BibTeX."""

REFERENCES: dict[str, str] = {
    "rumelhart1986": """@article{rumelhart1986,
  author = {Rumelhart, David E. and Hinton, Geoffrey E. and Williams, Ronald J.},
  title = {Learning representations by back-propagating errors},
  journal = {Nature}, volume = {323}, pages = {533--536}, year = {1986}}""",
    "lillicrap2016": """@article{lillicrap2016,
  author = {Lillicrap, Timothy P. and Cownden, Daniel and Tweed, Douglas B. and Akerman, Colin J.},
  title = {Random synaptic feedback weights support error backpropagation for deep learning},
  journal = {Nature Communications}, volume = {7}, pages = {13276}, year = {2016}}""",
    "nokland2016": """@inproceedings{nokland2016,
  author = {N{\\o}kland, Arild},
  title = {Direct feedback alignment provides learning in deep neural networks},
  booktitle = {Advances in Neural Information Processing Systems}, volume = {29}, year = {2016}}""",
    "frenkel2021": """@article{frenkel2021,
  author = {Frenkel, Charlotte and Lefebvre, Martin and Bol, David},
  title = {Learning without feedback: Fixed random learning signals allow for feedforward training of deep
    neural networks},
  journal = {Frontiers in Neuroscience}, volume = {15}, pages = {629892}, year = {2021}}""",
    "dellaferrera2022": """@inproceedings{dellaferrera2022,
  author = {Dellaferrera, Giorgia and Kreiman, Gabriel},
  title = {Error-driven input modulation: Solving the credit assignment problem without a backward pass},
  booktitle = {International Conference on Machine Learning}, pages = {4937--4955}, year = {2022}}""",
}
