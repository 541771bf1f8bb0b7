"""Pricing: which product a new order buys, at what price, and whether it may be sold."""

from __future__ import annotations

import hashlib

import msgspec

from shoudan_kit.money import MICROS_MAX, PPM, apply_rate, micros_to_yuan
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_order.binding import deliverable_num
from shoudan_order.catalogue.index import WILDCARD, Catalogue, ProductRequest
from shoudan_order.catalogue.model import DownProduct, DownShelf
from shoudan_order.catalogue.segments import NO_SEGMENTS, Segments
from shoudan_order.refusals import (
    ChannelUnavailable,
    FieldInvalid,
    NumTooHigh,
    PriceDiffers,
    PriceTooHigh,
    ProductNotFound,
)
from shoudan_order.states import yes_no
from shoudan_order.store.nonces import CallNonce
from shoudan_order.store.rows import Order

# |our price - amount| / total face may be at most this (oms-behaviour §3.4).
PRICE_DIFFERENCE_MAX_PPM = 100_000


class NewOrder(msgspec.Struct, frozen=True):
    """An order as its channel sends it."""

    channel_no: str
    request_no: str
    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    invoice_type: int
    num: int
    face_micros: int
    amount_micros: int
    notify_url: str
    rechage_account: str
    nonce: CallNonce | None = None
    max_amount_micros: int = 0
    confirm_repeat: bool = False


def content_hash(new: NewOrder) -> bytes:
    """What two requests must have in common to be the same: not what names one, nor the most it may cost.

    Stored under a key only, because an account could be guessed from it.
    """
    text = "\x1f".join(
        (
            str(new.line_id),
            new.carrier_no,
            new.province_no or WILDCARD,
            new.city_no or WILDCARD,
            str(new.invoice_type),
            str(new.num),
            str(new.face_micros),
            str(new.amount_micros),
            new.notify_url,
            new.rechage_account,
        )
    )
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def draft(
    catalogue: Catalogue,
    new: NewOrder,
    order_id: int,
    accounts: SealedColumn,
    segments: Segments = NO_SEGMENTS,
) -> Order:
    """The order this request makes, priced, its account sealed. Raises what it is refused with.

    A carrier or province that is not sent is that of the account's segment, where one is known.
    """
    channel = catalogue.down_channels.get(new.channel_no)
    if channel is None or not channel.enabled:
        raise ChannelUnavailable(new.channel_no)
    carrier_no, province_no = segments.filled(new.rechage_account, new.carrier_no, new.province_no)
    if not carrier_no:
        raise FieldInvalid("carrier_no", "不能为空")  # and no segment of the account is known
    request = ProductRequest(
        new.channel_no,
        new.line_id,
        carrier_no,
        province_no or WILDCARD,
        new.city_no or WILDCARD,
        new.face_micros,
        new.num,
        new.invoice_type,
    )
    product, shelf = _sold(catalogue, request)
    total = new.face_micros * new.num
    if total > MICROS_MAX:
        raise FieldInvalid("num", "face times num is too large")
    sell = apply_rate(total, product.sell_discount_ppm)
    _check_price(sell, new.amount_micros, total)
    _check_max(sell + apply_rate(total, product.service_discount_ppm), new.max_amount_micros)
    return _order(request, new, order_id, product, shelf, total, sell, accounts)


def _sold(catalogue: Catalogue, request: ProductRequest) -> tuple[DownProduct, DownShelf]:
    """What is sold, if as many units can be. Raises ProductNotFound, NumTooHigh."""
    sold = catalogue.index.sold_as(request)
    if sold is None:
        num_max = catalogue.index.num_max(request)
        if num_max:
            raise NumTooHigh(request.channel_no, request.num, num_max)
        raise ProductNotFound(request.channel_no, micros_to_yuan(request.face_micros))
    num_max = deliverable_num(catalogue, sold[0], request)
    if request.num > num_max:
        raise NumTooHigh(request.channel_no, request.num, num_max)
    return sold


def _check_price(sell_micros: int, amount_micros: int, total_micros: int) -> None:
    difference = sell_micros - amount_micros
    if abs(difference) * PPM > PRICE_DIFFERENCE_MAX_PPM * total_micros:
        ppm = abs(difference) * PPM // total_micros
        sign = "-" if difference < 0 else ""
        raise PriceDiffers(f"{sign}{ppm // PPM}.{ppm % PPM:06d}".rstrip("0").rstrip("."))


def _check_max(price_micros: int, max_micros: int) -> None:
    if 0 < max_micros < price_micros:
        raise PriceTooHigh(micros_to_yuan(price_micros), micros_to_yuan(max_micros))


def _order(
    request: ProductRequest,
    new: NewOrder,
    order_id: int,
    product: DownProduct,
    shelf: DownShelf,
    total: int,
    sell: int,
    accounts: SealedColumn,
) -> Order:
    return Order(
        order_id=order_id,
        down_channel_no=new.channel_no,
        request_no=new.request_no,
        down_shelf_id=shelf.shelf_id,
        down_product_id=product.product_id,
        ext_product_no=product.ext_product_no,
        line_id=new.line_id,
        carrier_no=request.carrier_no,
        province_no=request.province_no,
        city_no=request.city_no,
        invoice_type=new.invoice_type,
        face_micros=new.face_micros,
        num=new.num,
        total_face_micros=total,
        mer_amount_micros=new.amount_micros,
        sell_amount_micros=sell,
        commission_amount_micros=apply_rate(total, product.commission_discount_ppm),
        service_amount_micros=apply_rate(total, product.service_discount_ppm),
        fee_amount_micros=apply_rate(sell, product.payment_fee_discount_ppm),
        sell_discount_ppm=product.sell_discount_ppm,
        commission_discount_ppm=product.commission_discount_ppm,
        service_discount_ppm=product.service_discount_ppm,
        payment_fee_discount_ppm=product.payment_fee_discount_ppm,
        can_split_order=yes_no(product.can_split_order),
        split_order_face_micros=product.split_order_face_micros,
        timeout_s=shelf.order_overtime_s,
        rechage_account=accounts.seal(order_id, new.rechage_account),
        has_notify=bool(new.notify_url),
        request_hash=accounts.ring.keyed(content_hash(new)),
    )
