-- Guarantees: how wrong the accepted answers of a bundle to a task may be, and what that was proven from. Rows
-- are only added: what was promised stays, and that it was withdrawn is a row of its own.

CREATE TABLE meta.guarantees (
    tenant_id    text NOT NULL REFERENCES meta.tenants,
    guarantee_id text NOT NULL,
    task         text NOT NULL,
    bundle_id    text NOT NULL,
    issued_by    text NOT NULL,
    issued_at    timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > issued_at),
    content      jsonb NOT NULL,
    PRIMARY KEY (tenant_id, guarantee_id)
);
CREATE INDEX guarantees_of ON meta.guarantees (tenant_id, task, issued_at);

CREATE TABLE meta.guarantee_withdrawals (
    tenant_id    text NOT NULL,
    guarantee_id text NOT NULL,
    withdrawn_by text NOT NULL,
    withdrawn_at timestamptz NOT NULL,
    lapse        text NOT NULL,
    why          text NOT NULL,
    PRIMARY KEY (tenant_id, guarantee_id),
    FOREIGN KEY (tenant_id, guarantee_id) REFERENCES meta.guarantees
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON meta.guarantees
    FOR EACH STATEMENT EXECUTE FUNCTION meta.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON meta.guarantee_withdrawals
    FOR EACH STATEMENT EXECUTE FUNCTION meta.refuse_change();

GRANT SELECT, INSERT ON meta.guarantees, meta.guarantee_withdrawals TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['guarantees', 'guarantee_withdrawals']
    LOOP
        EXECUTE format('ALTER TABLE meta.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE meta.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON meta.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
