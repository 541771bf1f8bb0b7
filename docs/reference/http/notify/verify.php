<?php
// Whether a notify is ours: Standard Webhooks, for receivers in PHP 7.4 and newer.

const OFF_S_MAX = 300;

function key_of(string $secret): string
{
    $key = strncmp($secret, 'whsec_', 6) === 0 ? base64_decode(substr($secret, 6), true) : false;
    return $key === false ? $secret : $key;
}

// $headers: by their names in lower case; $body: file_get_contents('php://input'); several secrets while exchanged.
function verify(array $secrets, array $headers, string $body, ?int $now = null): bool
{
    $id = $headers['webhook-id'] ?? '';
    $stamp = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/\A[0-9]+\z/', $stamp) || abs(($now ?? time()) - (int) $stamp) > OFF_S_MAX) {
        return false;
    }
    $right = false;
    foreach ($secrets as $secret) {
        $made = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$stamp.$body", key_of($secret), true));
        foreach (explode(' ', $headers['webhook-signature'] ?? '') as $one) {
            $right = hash_equals($made, $one) || $right; // all are compared
        }
    }
    return $right;
}

// Lines of secrets (separated by spaces), id, timestamp, signature, body in hex, and the time now.
if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    while (($line = fgets(STDIN)) !== false) {
        [$secret, $id, $stamp, $signature, $body, $now] = explode("\t", rtrim($line, "\n"));
        $headers = ['webhook-id' => $id, 'webhook-timestamp' => $stamp, 'webhook-signature' => $signature];
        echo verify(explode(' ', $secret), $headers, hex2bin($body), (int) $now) ? 'yes' : 'no', "\n";
    }
}
