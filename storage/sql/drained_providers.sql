-- The providers that an operator took out of use.
SELECT name FROM provider_states WHERE state = 'drained'
