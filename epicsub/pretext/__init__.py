"""Self-supervision by order: clips are shuffled, a network tells how. Tensors in, losses and decisions out.

Inspired by arXiv 1807.11293 (Buchler, Brattoli, Ommer), of which no code was found: what its abstract and introduction
say is tagged [P], what public code of its neighbours does [C] (OPN, JigsawPuzzlePytorch, VCOP), the rest is ours [D].
Knows no data, no loader, no optimiser of the network; the policies step their own few numbers.
"""
