<?php
// HMAC-SHA256-V2 of a call, for clients in PHP 7.4 and newer.

// $params: those of query and body together; $body: its bytes, '' of a GET.
function sign(string $method, string $path, array $params, string $body, string $key): string
{
    unset($params['sign']);
    uksort($params, fn ($a, $b) => strcmp((string) $a, (string) $b)); // PHP makes "1" a number
    $shown = [];
    foreach ($params as $name => $value) {
        $shown[] = rawurlencode((string) $name) . '=' . rawurlencode($value);
    }
    $text = implode("\n", ['HMAC-SHA256-V2', $method, $path, implode('&', $shown), hash('sha256', $body)]);
    return hash_hmac('sha256', $text, $key);
}

// The first version, HMAC-SHA256: names and values as they are, and no first line.
function sign_v1(string $method, string $path, array $params, string $body, string $key): string
{
    unset($params['sign']);
    uksort($params, fn ($a, $b) => strcmp((string) $a, (string) $b));
    $shown = [];
    foreach ($params as $name => $value) {
        $shown[] = $name . '=' . $value;
    }
    $text = implode("\n", [$method, $path, implode('&', $shown), hash('sha256', $body)]);
    return hash_hmac('sha256', $text, $key);
}

// Lines of method, path, key, body and name=value&…, the last two in hex, and the version: 1 or 2.
if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    while (($line = fgets(STDIN)) !== false) {
        [$method, $path, $key, $body, $pairs, $version] = explode("\t", rtrim($line, "\n"));
        $params = [];
        foreach (explode('&', $pairs) as $pair) {
            [$name, $value] = explode('=', $pair);
            $params[hex2bin($name)] = hex2bin($value);
        }
        $made = $version === '2' ? 'sign' : 'sign_v1';
        echo $made($method, $path, $params, hex2bin($body), $key), "\n";
    }
}
