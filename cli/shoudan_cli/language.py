"""What `up` and `demo` say, in Chinese and in English."""

from __future__ import annotations

from typing import Final

# What is said in English, longest first, and how it is said in Chinese. Numbers, names and addresses stay.
_CHINESE: Final[tuple[tuple[str, str], ...]] = (
    ("first operator admin, password for one login:", "第一位操作员 admin，一次性密码："),
    ("supplier, notify inbox, payment component", "上游、通知收件箱、支付组件"),
    ("stopping: what is under way is finished first", "正在停止：先办完手头的事"),
    (
        "operators work here; log in as `shoudan login` does",
        "操作员在此工作；账号同 `shoudan login`",
    ),
    ("), gone at the end", "），结束后删除"),
    ("one of its own (", "临时系统（"),
    ("for operators, in a browser", "操作员用浏览器打开"),
    ("(Ctrl-C stops everything)", "（Ctrl-C 全部停止）"),
    ("ports that others use, moved:", "端口被占用，已改用："),
    ("(gone at the end)", "（结束后删除）"),
    ("(data ", "（数据 "),
    ("JetStream on, plaintext", "JetStream 已开，明文"),
    ("JetStream on, TLS", "JetStream 已开，TLS"),
    ("partners channel_no=test and ycdown", "渠道     channel_no=test 和 ycdown"),
    ("balance of test:", "test 的余额："),
    ("  healthy", "  正常"),
    (" changed", " 项变更"),
    ("the next morning, on a clock turned by ", "次日清晨，时钟前进了 "),
    (" is closed: ", " 已日切："),
    (" movements of ", " 笔流水，账户 "),
    (" accounts, all here", " 个，全部到齐"),
    ("  bill of yesterday: ", "  昨日账单："),
    (" rows, sha256", " 行，sha256"),
    ("  proof ", "  证明 "),
    ("✔ stopped", "✔ 已停止"),
    ("✔ console ", "✔ 控制台  "),
    ("  system  ", "  系统    "),
    ("  next:  ", "  下一步："),
    ("  logs   ", "  日志   "),
    ("  docs   ", "  文档   "),
    ("  notify ", "  通知 "),
    ("   API ", "   接口文档 "),
)
# The documented tags of a life, and the unit, for who reads no Chinese.
_ENGLISH: Final[tuple[tuple[str, str], ...]] = (
    ("下单", "ordered"),
    ("下游支付", "partner pays"),
    ("最低价绑定", "bound cheapest"),
    ("开始发货", "sent to supplier"),
    ("上游结果", "supplier answers"),
    ("发货完成", "delivered"),
    ("上游支付", "supplier paid"),
    ("下游通知", "partner notified"),
    ("订单超时处理", "order timed out"),
    ("发货超时处理", "delivery timed out"),
    ("订单失败退款处理", "money back"),
    ("人工审核", "waits for a person"),
    (" 元", " yuan"),
)


def said(line: str, language: str) -> str:
    """A line in the language; what it does not know stays."""
    if language == "zh":
        for english, chinese in _CHINESE:
            if english in line:
                line = line.replace(english, chinese)
        return line
    for chinese, english in _ENGLISH:
        if chinese in line:
            # The column of tags stays as wide: a Chinese letter takes two places.
            pad = f"{chinese:<12}"
            line = (
                line.replace(pad, f"{english:<16}")
                if pad in line
                else line.replace(chinese, english)
            )
    return line
