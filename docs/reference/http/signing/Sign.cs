// HMAC-SHA256-V2 of a call, for clients in C# (.NET 6 and newer, or Mono).
using System;
using System.Collections.Generic;
using System.Linq;
using System.Security.Cryptography;
using System.Text;

public static class Sign
{
    // Hex of the signature. parameters: those of query and body together; body: its bytes, none of a GET.
    public static string V2(string method, string path, IDictionary<string, string> parameters, byte[] body, string key)
    {
        return Signed("HMAC-SHA256-V2\n" + method + "\n" + path, Encoded, parameters, body, key);
    }

    // The first version, HMAC-SHA256: names and values as they are, and no first line.
    public static string V1(string method, string path, IDictionary<string, string> parameters, byte[] body, string key)
    {
        return Signed(method + "\n" + path, text => text, parameters, body, key);
    }

    private static string Signed(
        string head, Func<string, string> shownAs, IDictionary<string, string> parameters, byte[] body, string key)
    {
        var names = parameters.Keys.Where(name => name != "sign").ToList();
        names.Sort(ByBytes);
        string shown = string.Join("&", names.Select(name => shownAs(name) + "=" + shownAs(parameters[name])));
        using (var sha = SHA256.Create())
        using (var mac = new HMACSHA256(Encoding.UTF8.GetBytes(key)))
        {
            string text = head + "\n" + shown + "\n" + Hex(sha.ComputeHash(body));
            return Hex(mac.ComputeHash(Encoding.UTF8.GetBytes(text)));
        }
    }

    // string.Compare sorts by culture or by UTF-16, which is another order beyond U+D7FF.
    private static int ByBytes(string a, string b)
    {
        byte[] left = Encoding.UTF8.GetBytes(a), right = Encoding.UTF8.GetBytes(b);
        for (int i = 0; i < Math.Min(left.Length, right.Length); i++)
        {
            if (left[i] != right[i]) return left[i].CompareTo(right[i]);
        }
        return left.Length.CompareTo(right.Length);
    }

    // Byte by byte: Uri.EscapeDataString leaves other characters alone in older versions.
    private static string Encoded(string text)
    {
        const string plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        var made = new StringBuilder();
        foreach (byte one in Encoding.UTF8.GetBytes(text))
        {
            if (plain.IndexOf((char)one) >= 0) made.Append((char)one);
            else made.Append('%').Append(one.ToString("X2"));
        }
        return made.ToString();
    }

    private static string Hex(byte[] bytes)
    {
        return string.Concat(bytes.Select(one => one.ToString("x2")));
    }

    private static byte[] Bytes(string digits)
    {
        return Enumerable.Range(0, digits.Length / 2).Select(i => Convert.ToByte(digits.Substring(i * 2, 2), 16)).ToArray();
    }

    // Lines of method, path, key, body and name=value&…, the last two in hex, and the version: 1 or 2.
    public static void Main()
    {
        for (string line = Console.ReadLine(); line != null; line = Console.ReadLine())
        {
            string[] part = line.Split('\t');
            var parameters = new Dictionary<string, string>();
            foreach (string pair in part[4].Split('&'))
            {
                string[] one = pair.Split('=');
                parameters[Encoding.UTF8.GetString(Bytes(one[0]))] = Encoding.UTF8.GetString(Bytes(one[1]));
            }
            byte[] body = Bytes(part[3]);
            Console.WriteLine(part[5] == "2" ? V2(part[0], part[1], parameters, body, part[2]) : V1(part[0], part[1], parameters, body, part[2]));
        }
    }
}
