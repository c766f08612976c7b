"""Let the application sign an entry together with its place in the chain, and make a fork of the chain impossible.

``audit_log_head`` takes the lock that the trigger takes, so that the head it returns is still the head when the entry
is inserted in the same transaction.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION audit_log_head() RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    last_hash bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit_logs'));
    SELECT hash INTO last_hash FROM audit_logs ORDER BY id DESC LIMIT 1;
    RETURN coalesce(last_hash, '\\x'::bytea);
END
$$;

CREATE UNIQUE INDEX audit_log_one_successor ON audit_logs (previous_hash);
"""

BACKWARD = """
DROP INDEX audit_log_one_successor;
DROP FUNCTION audit_log_head();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_sign_in")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
