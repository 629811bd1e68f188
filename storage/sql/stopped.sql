-- Whether somebody told our senders to stop.
SELECT true FROM suppressions WHERE tenant = '*' AND channel = $1 AND address = $2
