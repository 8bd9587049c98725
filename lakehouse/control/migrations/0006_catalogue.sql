-- The catalogue: what each tenant's tables are now. The lake is the truth; a row here says what it said
-- when a run closed, or when `plata tables refresh` asked. `written_at` and `last_run` are of the newest run's
-- commit: maintenance makes nothing fresh.

CREATE TABLE meta.tables (
    tenant_id        text NOT NULL REFERENCES meta.tenants,
    layer            text NOT NULL CHECK (layer IN ('bronze', 'silver', 'gold')),
    "table"          text NOT NULL,
    location         text NOT NULL,
    contract_version integer NOT NULL,
    owner            text NOT NULL,
    version          bigint NOT NULL CHECK (version >= 0),
    rows             bigint NOT NULL CHECK (rows >= 0),
    files            bigint NOT NULL CHECK (files >= 0),
    size_bytes       bigint NOT NULL CHECK (size_bytes >= 0),
    written_at       timestamptz NOT NULL,
    newest_day       date,
    last_run         text,
    refreshed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, layer, "table")
);

GRANT SELECT, INSERT, DELETE ON meta.tables TO plata_app;

ALTER TABLE meta.tables ENABLE ROW LEVEL SECURITY;
ALTER TABLE meta.tables FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON meta.tables USING (tenant_id = current_setting('plata.tenant'));
