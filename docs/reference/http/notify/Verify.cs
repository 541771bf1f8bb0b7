// Whether a notify is ours: Standard Webhooks, for receivers in C# (.NET 6 and newer, or Mono).
using System;
using System.Collections.Generic;
using System.Linq;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

public static class Verify
{
    private const long OffSMax = 300;

    // headers: by their names in lower case; body: as it came; several secrets while exchanged; now: seconds.
    public static bool IsOurs(IEnumerable<string> secrets, IDictionary<string, string> headers, byte[] body, long now)
    {
        string stamp = Header(headers, "webhook-timestamp");
        if (!Regex.IsMatch(stamp, @"\A[0-9]{1,18}\z") || Math.Abs(now - long.Parse(stamp)) > OffSMax) return false;
        byte[] text = Encoding.UTF8.GetBytes(Header(headers, "webhook-id") + "." + stamp + ".").Concat(body).ToArray();
        bool right = false;
        foreach (string secret in secrets)
        {
            using (var mac = new HMACSHA256(Key(secret)))
            {
                string made = "v1," + Convert.ToBase64String(mac.ComputeHash(text));
                foreach (string one in Header(headers, "webhook-signature").Split(' ')) right |= Same(made, one);
            }
        }
        return right;
    }

    private static string Header(IDictionary<string, string> headers, string name)
    {
        string found;
        return headers.TryGetValue(name, out found) ? found : "";
    }

    private static byte[] Key(string secret)
    {
        if (secret.StartsWith("whsec_", StringComparison.Ordinal))
        {
            try { return Convert.FromBase64String(secret.Substring(6)); }
            catch (FormatException) { }
        }
        return Encoding.UTF8.GetBytes(secret);
    }

    // Takes as long whatever differs; newer versions have CryptographicOperations.FixedTimeEquals.
    private static bool Same(string a, string b)
    {
        int differs = a.Length ^ b.Length;
        for (int i = 0; i < Math.Min(a.Length, b.Length); i++) differs |= a[i] ^ b[i];
        return differs == 0;
    }

    // Lines of secrets (separated by spaces), id, timestamp, signature, body in hex, and the time now.
    public static void Main()
    {
        for (string line = Console.ReadLine(); line != null; line = Console.ReadLine())
        {
            string[] part = line.Split('\t');
            var headers = new Dictionary<string, string> {
                { "webhook-id", part[1] }, { "webhook-timestamp", part[2] }, { "webhook-signature", part[3] } };
            byte[] body = Enumerable.Range(0, part[4].Length / 2).Select(i => Convert.ToByte(part[4].Substring(i * 2, 2), 16)).ToArray();
            Console.WriteLine(IsOurs(part[0].Split(' '), headers, body, long.Parse(part[5])) ? "yes" : "no");
        }
    }
}
