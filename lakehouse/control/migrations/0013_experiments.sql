-- Experiments: a challenger bundle beside a tenant's runs, in a shadow or on a share of the tickets. Rows are
-- only added: what was started stays, its end is a row of its own, and both say who and why.

CREATE TABLE meta.experiments (
    tenant_id     text NOT NULL REFERENCES meta.tenants,
    experiment_id text NOT NULL,
    mode          text NOT NULL CHECK (mode IN ('shadow', 'ab')),
    share         double precision NOT NULL CHECK (share > 0 AND share <= 1),
    bundle_id     text NOT NULL,
    started_by    text NOT NULL,
    started_at    timestamptz NOT NULL,
    reason        text NOT NULL,
    PRIMARY KEY (tenant_id, experiment_id)
);

CREATE TABLE meta.experiment_ends (
    tenant_id     text NOT NULL,
    experiment_id text NOT NULL,
    stopped_by    text NOT NULL,
    stopped_at    timestamptz NOT NULL,
    reason        text NOT NULL,
    PRIMARY KEY (tenant_id, experiment_id),
    FOREIGN KEY (tenant_id, experiment_id) REFERENCES meta.experiments
);

-- What either side's answers took, a row for each part of a run's answers; a part that is asked again after a
-- kill replaces its row.
CREATE TABLE meta.experiment_spent (
    tenant_id     text NOT NULL,
    experiment_id text NOT NULL,
    run_id        text NOT NULL,
    bundle_id     text NOT NULL,
    part          text NOT NULL,
    task          text NOT NULL,
    answers       bigint NOT NULL,
    seconds       double precision NOT NULL,
    PRIMARY KEY (tenant_id, experiment_id, run_id, bundle_id, part),
    FOREIGN KEY (tenant_id, experiment_id) REFERENCES meta.experiments
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON meta.experiments
    FOR EACH STATEMENT EXECUTE FUNCTION meta.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON meta.experiment_ends
    FOR EACH STATEMENT EXECUTE FUNCTION meta.refuse_change();

GRANT SELECT, INSERT ON meta.experiments, meta.experiment_ends TO plata_app;
GRANT SELECT, INSERT, UPDATE ON meta.experiment_spent TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['experiments', 'experiment_ends', 'experiment_spent']
    LOOP
        EXECUTE format('ALTER TABLE meta.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE meta.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON meta.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
