-- Human review without a labelling service: queues, the cases in them, and what people answered.
-- A case with an answer cannot go: its answers refer to it.

CREATE SCHEMA review;

CREATE TABLE review.queues (
    tenant_id text NOT NULL REFERENCES meta.tenants,
    task      text NOT NULL,
    titles    json NOT NULL, -- not jsonb, which would forget the order of the labels
    guideline text NOT NULL,
    PRIMARY KEY (tenant_id, task)
);

CREATE TABLE review.cases (
    tenant_id         text NOT NULL,
    task              text NOT NULL,
    ticket_id         text NOT NULL,
    bundle_id         text NOT NULL,
    guideline_version text NOT NULL,
    wanted            integer NOT NULL CHECK (wanted > 0),
    reason            text NOT NULL,
    origin            jsonb NOT NULL,
    shown             jsonb NOT NULL, -- the masked text, and what else a reviewer reads
    put_at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, task, ticket_id, bundle_id),
    FOREIGN KEY (tenant_id, task) REFERENCES review.queues
);

CREATE TABLE review.reviewers (
    tenant_id text NOT NULL REFERENCES meta.tenants,
    username  text NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    let_in    boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, username)
);

CREATE TABLE review.answers (
    tenant_id   text NOT NULL,
    task        text NOT NULL,
    ticket_id   text NOT NULL,
    bundle_id   text NOT NULL,
    username    text NOT NULL,
    status      text NOT NULL CHECK (status IN ('draft', 'discarded', 'submitted')),
    label       text,
    comment     text,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, task, ticket_id, bundle_id, username),
    FOREIGN KEY (tenant_id, task, ticket_id, bundle_id) REFERENCES review.cases,
    FOREIGN KEY (tenant_id, username) REFERENCES review.reviewers,
    CHECK (status <> 'submitted' OR label IS NOT NULL)
);

-- Who has a case before them, and until when it is kept for them.
CREATE TABLE review.leases (
    tenant_id text NOT NULL,
    task      text NOT NULL,
    ticket_id text NOT NULL,
    bundle_id text NOT NULL,
    username  text NOT NULL,
    until     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, task, ticket_id, bundle_id, username),
    FOREIGN KEY (tenant_id, task, ticket_id, bundle_id) REFERENCES review.cases ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, username) REFERENCES review.reviewers
);

GRANT USAGE ON SCHEMA review TO plata_app;
GRANT SELECT, INSERT, UPDATE ON review.queues, review.reviewers, review.answers TO plata_app;
GRANT SELECT, INSERT, DELETE ON review.cases TO plata_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON review.leases TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['queues', 'cases', 'reviewers', 'answers', 'leases']
    LOOP
        EXECUTE format('ALTER TABLE review.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE review.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON review.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
