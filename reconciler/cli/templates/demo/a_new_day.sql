-- Some German readers take their consent back.
UPDATE customers SET consent = 0
WHERE country = 'DE' AND customer_id LIKE '%77';

-- Some customers spend a lot; those who had stopped buying are back.
INSERT INTO orders
SELECT 'O2' || substr(customer_id, 2), customer_id, 1200, '2026-06-01'
FROM customers WHERE customer_id LIKE '%500';
UPDATE customers SET ltv = ltv + 1200 WHERE customer_id LIKE '%500';

-- Some are new.
INSERT INTO customers
SELECT 'N' || substr(customer_id, 2), 'new.' || email, country, 1,
       '2026-06-01', 0
FROM customers WHERE customer_id LIKE '%21';
