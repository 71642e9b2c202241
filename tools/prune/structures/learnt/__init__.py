"""Structures of families that no entry names, learnt from the model: its module tree, its configuration, and trials.

`layers` finds heads and neurons by names and shapes, `statement` which fields of the configuration give their numbers
(by building the network without values), `proof` tries them on the model, `sizes` fits one number to a whole group, and
`smaller` writes the smaller model, which is compared with the one with zeros before anybody gets it.
"""
