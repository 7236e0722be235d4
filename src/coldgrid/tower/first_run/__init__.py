"""First run: from an empty database to a site that is watched, in pages that can be left and taken up again.

Invariants
    R1  Every step is commands like anybody's, by the admin who is signed in: what it put in force is kept at
        once, so there is nothing to lose, and going back shows what there is.
    R2  It is for a network that is being set up (`network.profile` U1), and refuses any other.
    R3  Pressed twice, or sent again, a form does its work once.
"""
