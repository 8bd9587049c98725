-- What evaluations found: gates read the newest of a challenger beside its champion.
-- `answers_id` names all that decides a bundle's answers to a task.

CREATE TABLE meta.evaluations (
    tenant_id           text NOT NULL,
    evaluation_id       text NOT NULL,
    task                text NOT NULL,
    answers_id          text NOT NULL,
    champion_answers_id text,
    bundle_id           text NOT NULL,
    model               text NOT NULL,
    champion            text,
    judged_on           text NOT NULL,
    texts               integer NOT NULL CHECK (texts > 0),
    page                text NOT NULL,
    measured_at         timestamptz NOT NULL,
    measures            jsonb,
    report              jsonb NOT NULL,
    PRIMARY KEY (tenant_id, evaluation_id)
);

CREATE INDEX ON meta.evaluations (tenant_id, task, answers_id, champion_answers_id, measured_at);

GRANT SELECT, INSERT ON meta.evaluations TO plata_app;
ALTER TABLE meta.evaluations ENABLE ROW LEVEL SECURITY;
ALTER TABLE meta.evaluations FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON meta.evaluations USING (tenant_id = current_setting('plata.tenant'));
