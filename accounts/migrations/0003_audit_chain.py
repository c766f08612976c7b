"""Make ``audit_logs`` append-only and hash-chained, for every writer, raw SQL included.

The chain is built under a transaction-long advisory lock, and the row's id is drawn again under it, so that the order
of ids is the order of the chain.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION audit_log_hash(entry audit_logs) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(concat_ws(E'\\x1f',
        encode(entry.previous_hash, 'hex'), entry.id::text, entry.action,
        coalesce(entry.actor_id::text, ''), entry.actor_name, entry.resource_type,
        coalesce(entry.resource_id::text, ''), entry.resource_name, coalesce(entry.collection_id::text, ''),
        entry.changes::text, coalesce(host(entry.ip_address), ''), entry.request_id,
        (extract(epoch FROM entry.timestamp) * 1000000)::bigint::text, encode(entry.signature, 'hex')), 'UTF8'))
$$;

CREATE FUNCTION audit_log_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_hash bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit_logs'));
    NEW.id := nextval(pg_get_serial_sequence('audit_logs', 'id'));
    SELECT hash INTO last_hash FROM audit_logs ORDER BY id DESC LIMIT 1;
    NEW.previous_hash := coalesce(last_hash, '\\x'::bytea);
    NEW.hash := audit_log_hash(NEW);
    RETURN NEW;
END
$$;

CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_logs is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION audit_log_chain();
CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_log_refuse();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();
"""

BACKWARD = """
DROP TRIGGER audit_log_no_truncate ON audit_logs;
DROP TRIGGER audit_log_no_change ON audit_logs;
DROP TRIGGER audit_log_chain ON audit_logs;
DROP FUNCTION audit_log_refuse();
DROP FUNCTION audit_log_chain();
DROP FUNCTION audit_log_hash(audit_logs);
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_rate_limit_tiers")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
