-- A check's number, and the shares behind it where it looks at a distribution: what later runs of
-- the tenant are compared with.

ALTER TABLE meta.data_quality
    ADD COLUMN measured double precision,
    ADD COLUMN detail   jsonb;
