-- Reachable customers of one country, by value.
SELECT customer_id
FROM customers
WHERE consent
  AND country = :country
  AND ltv >= :min_ltv
