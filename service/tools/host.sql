-- name: forget_old_answers
-- The answers of key $1 that are past their time.
DELETE FROM idempotency_keys WHERE api_key_id = $1 AND created_at < now() - interval '24 hours';

-- name: claim_idempotency_key
-- True if key $1 has not used idempotency key $2 yet; tool $3, hash of the request $4.
INSERT INTO idempotency_keys (api_key_id, idempotency_key, tool, request_hash)
VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
RETURNING true;

-- name: kept_answer
-- What key $1 was answered to idempotency key $2.
SELECT request_hash, answer FROM idempotency_keys WHERE api_key_id = $1 AND idempotency_key = $2;

-- name: keep_answer
-- Key $1 was answered $3 to idempotency key $2.
UPDATE idempotency_keys SET answer = $3 WHERE api_key_id = $1 AND idempotency_key = $2;
