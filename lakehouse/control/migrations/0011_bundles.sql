-- Bundles: which exact versions, thresholds and seed answer a tenant's tickets. A bundle never changes; what
-- moves is an alias of its name, and every move leaves a row that nobody can take back.

CREATE TABLE meta.bundles (
    tenant_id  text NOT NULL REFERENCES meta.tenants,
    name       text NOT NULL,
    bundle_id  text NOT NULL,
    content    jsonb NOT NULL,
    note       text NOT NULL,
    made_by    text NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name, bundle_id)
);

CREATE TABLE meta.bundle_aliases (
    tenant_id text NOT NULL,
    name      text NOT NULL,
    alias     text NOT NULL,
    bundle_id text NOT NULL,
    moved_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name, alias),
    FOREIGN KEY (tenant_id, name, bundle_id) REFERENCES meta.bundles
);

-- The audit log. `from_bundle` is null for an alias' first move; `verdict` is what the gates said, null where
-- none were asked.
CREATE TABLE meta.bundle_moves (
    move_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text NOT NULL,
    name        text NOT NULL,
    alias       text NOT NULL,
    from_bundle text,
    to_bundle   text NOT NULL,
    moved_by    text NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT now(),
    reason      text NOT NULL,
    forced      boolean NOT NULL CHECK (NOT forced OR reason <> ''),
    verdict     jsonb,
    FOREIGN KEY (tenant_id, name, to_bundle) REFERENCES meta.bundles,
    FOREIGN KEY (tenant_id, name, from_bundle) REFERENCES meta.bundles
);
CREATE INDEX bundle_moves_of ON meta.bundle_moves (tenant_id, name, move_id);

CREATE FUNCTION meta.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are never changed or deleted', TG_TABLE_SCHEMA, TG_TABLE_NAME;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON meta.bundles
    FOR EACH STATEMENT EXECUTE FUNCTION meta.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON meta.bundle_moves
    FOR EACH STATEMENT EXECUTE FUNCTION meta.refuse_change();

-- A run's bundle, for those who ask in SQL; null for runs that ask no model and for those planned before.
ALTER TABLE meta.etl_runs ADD COLUMN bundle_id text GENERATED ALWAYS AS (plan ->> 'bundle_id') STORED;

GRANT SELECT, INSERT ON meta.bundles, meta.bundle_moves TO plata_app;
GRANT SELECT, INSERT, UPDATE ON meta.bundle_aliases TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['bundles', 'bundle_aliases', 'bundle_moves']
    LOOP
        EXECUTE format('ALTER TABLE meta.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE meta.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON meta.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
