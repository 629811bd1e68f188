-- Which of these messages of a provider are some attempt's already.
SELECT provider_message_id FROM provider_messages
WHERE provider = $1 AND provider_message_id = ANY($2::text[])
