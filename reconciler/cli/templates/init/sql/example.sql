-- One column: the ids that belong in the segment now.
SELECT customer_id
FROM customers
WHERE consent = :consent
