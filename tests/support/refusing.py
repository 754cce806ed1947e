"""A database that refuses what a test says, whichever engine it is."""

from sqlalchemy import Connection

from allora_mqtt.store.database import Database


async def forbid(database: Database, verb: str, table: str, when: str = "") -> None:
    """Have the database refuse something, with the word `forbidden`, until it is allowed again."""
    on_sqlite = f"CREATE TRIGGER forbid BEFORE {verb} ON {table} {when} BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
    on_postgresql = (
        """CREATE OR REPLACE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'forbidden'; END $$""",
        f"CREATE TRIGGER forbid BEFORE {verb} ON {table} FOR EACH ROW {when} EXECUTE FUNCTION forbid()",
    )

    def work(connection: Connection) -> None:
        for statement in on_postgresql if connection.dialect.name == "postgresql" else (on_sqlite,):
            connection.exec_driver_sql(statement)

    await database.write(work)


async def allow(database: Database, table: str) -> None:
    def work(connection: Connection) -> None:
        where = f" ON {table}" if connection.dialect.name == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER forbid{where}")

    await database.write(work)
