"""How cost grows with the number of users: a seeded generator, a bench on a small cluster, a skewed set."""
