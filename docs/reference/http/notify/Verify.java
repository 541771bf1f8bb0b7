// Whether a notify is ours: Standard Webhooks, for receivers in Java 17 and newer.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public final class Verify {
    private static final long OFF_S_MAX = 300;

    /** headers: by their names in lower case; body: as it came; several secrets while exchanged; now: seconds. */
    public static boolean verify(List<String> secrets, Map<String, String> headers, byte[] body, long now)
            throws GeneralSecurityException {
        String stamp = headers.getOrDefault("webhook-timestamp", "");
        if (!stamp.matches("[0-9]{1,18}") || Math.abs(now - Long.parseLong(stamp)) > OFF_S_MAX) {
            return false;
        }
        boolean right = false;
        for (String secret : secrets) {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key(secret), "HmacSHA256"));
            mac.update(utf8(headers.getOrDefault("webhook-id", "") + "." + stamp + "."));
            byte[] made = utf8("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body)));
            for (String one : headers.getOrDefault("webhook-signature", "").split(" ")) {
                right |= MessageDigest.isEqual(made, utf8(one)); // all are compared
            }
        }
        return right;
    }

    private static byte[] key(String secret) {
        if (secret.startsWith("whsec_")) {
            try {
                return Base64.getDecoder().decode(secret.substring(6));
            } catch (IllegalArgumentException noBase64) {
                return utf8(secret);
            }
        }
        return utf8(secret);
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Lines of secrets (separated by spaces), id, timestamp, signature, body in hex, and the time now. */
    public static void main(String[] arguments) throws IOException, GeneralSecurityException {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] part = line.split("\t", -1);
            var headers = Map.of("webhook-id", part[1], "webhook-timestamp", part[2], "webhook-signature", part[3]);
            byte[] body = HexFormat.of().parseHex(part[4]);
            boolean right = verify(List.of(part[0].split(" ")), headers, body, Long.parseLong(part[5]));
            System.out.println(right ? "yes" : "no");
        }
    }
}
