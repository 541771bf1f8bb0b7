// HMAC-SHA256-V2 of a call, for clients in Java 17 and newer.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public final class Sign {
    private static final HexFormat HEX = HexFormat.of();

    /** Hex of the signature. params: those of query and body together; body: its bytes, none of a GET. */
    public static String sign(
            String method, String path, Map<String, String> params, byte[] body, String key)
            throws GeneralSecurityException {
        // String.compareTo sorts by UTF-16, which is another order beyond U+D7FF.
        Comparator<String> byBytes = (a, b) -> Arrays.compareUnsigned(utf8(a), utf8(b));
        String shown = params.keySet().stream()
                .filter(name -> !name.equals("sign"))
                .sorted(byBytes)
                .map(name -> encoded(name) + "=" + encoded(params.get(name)))
                .collect(Collectors.joining("&"));
        String digest = HEX.formatHex(MessageDigest.getInstance("SHA-256").digest(body));
        String text = String.join("\n", "HMAC-SHA256-V2", method, path, shown, digest);
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(utf8(key), "HmacSHA256"));
        return HEX.formatHex(mac.doFinal(utf8(text)));
    }

    /** The first version, HMAC-SHA256: names and values as they are, and no first line. */
    public static String signV1(
            String method, String path, Map<String, String> params, byte[] body, String key)
            throws GeneralSecurityException {
        Comparator<String> byBytes = (a, b) -> Arrays.compareUnsigned(utf8(a), utf8(b));
        String shown = params.keySet().stream()
                .filter(name -> !name.equals("sign"))
                .sorted(byBytes)
                .map(name -> name + "=" + params.get(name))
                .collect(Collectors.joining("&"));
        String digest = HEX.formatHex(MessageDigest.getInstance("SHA-256").digest(body));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(utf8(key), "HmacSHA256"));
        return HEX.formatHex(mac.doFinal(utf8(String.join("\n", method, path, shown, digest))));
    }

    /** URLEncoder is for forms: it writes + for a space, leaves *, and encodes ~. */
    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8)
                .replace("+", "%20")
                .replace("*", "%2A")
                .replace("%7E", "~");
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(String digits) {
        return new String(HEX.parseHex(digits), StandardCharsets.UTF_8);
    }

    /** Lines of method, path, key, body and name=value&…, the last two in hex, and the version: 1 or 2. */
    public static void main(String[] arguments) throws IOException, GeneralSecurityException {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] part = line.split("\t", -1);
            Map<String, String> params = new LinkedHashMap<>();
            for (String pair : part[4].split("&")) {
                String[] one = pair.split("=", -1);
                params.put(text(one[0]), text(one[1]));
            }
            byte[] body = HEX.parseHex(part[3]);
            System.out.println(part[5].equals("2")
                    ? sign(part[0], part[1], params, body, part[2])
                    : signV1(part[0], part[1], params, body, part[2]));
        }
    }
}
