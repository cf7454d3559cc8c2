"""What a plain installation has of psycopg: nothing.

Peewee loads it where it is, which takes as long as all of Corkage.
"""

raise ImportError("Corkage is installed without its extra for PostgreSQL")
