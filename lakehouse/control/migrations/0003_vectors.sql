-- Vectors: partitioned by tenant, then by embedding space, so that an index never mixes either.
-- Partitions are made when a tenant first writes to a space; a space's vectors have one length.

CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA vectors;

CREATE TABLE vectors.spaces (
    tenant_id  text NOT NULL REFERENCES meta.tenants,
    space_id   text NOT NULL,
    model      text NOT NULL,
    prompt     text NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions > 0),
    partition  text NOT NULL UNIQUE,
    PRIMARY KEY (tenant_id, space_id)
);

CREATE TABLE vectors.embeddings (
    tenant_id  text NOT NULL,
    space_id   text NOT NULL,
    ticket_id  uuid NOT NULL,
    embedding  halfvec NOT NULL,
    label      text,
    day        date NOT NULL,
    run_id     text NOT NULL,
    PRIMARY KEY (tenant_id, space_id, ticket_id)
) PARTITION BY LIST (tenant_id);

GRANT USAGE ON SCHEMA vectors TO plata_app;
GRANT SELECT ON vectors.spaces TO plata_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON vectors.embeddings TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['spaces', 'embeddings']
    LOOP
        EXECUTE format('ALTER TABLE vectors.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE vectors.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON vectors.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
