-- Plans that were shown and may be applied: what would be done, exactly, and what it was expected to take.
-- A plan never changes; what became of it is in meta.etl_runs, whose plan names it.

CREATE TABLE meta.plans (
    tenant_id text NOT NULL REFERENCES meta.tenants,
    plan_id   text NOT NULL,
    kind      text NOT NULL,
    made_at   timestamptz NOT NULL,
    plan      jsonb NOT NULL,
    estimate  jsonb NOT NULL,
    PRIMARY KEY (tenant_id, plan_id)
);

GRANT SELECT, INSERT ON meta.plans TO plata_app;
ALTER TABLE meta.plans ENABLE ROW LEVEL SECURITY;
ALTER TABLE meta.plans FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON meta.plans USING (tenant_id = current_setting('plata.tenant'));
