"""Universal Transverse Mercator on WGS84, both ways: Krüger's series to sixth order, good to a few nanometres.

Source: C. F. F. Karney, "Transverse Mercator with an accuracy of a few nanometers", J. Geodesy 85 (2011), eqs. 7-36.
"""

import numpy as np

from embodia.envs.driving.types import Floats

SEMI_MAJOR_AXIS = 6378137.0  # [m]
FLATTENING = 1 / 298.257223563
ECCENTRICITY = np.sqrt(FLATTENING * (2 - FLATTENING))
SCALE, FALSE_EASTING, FALSE_NORTHING = 0.9996, 500_000.0, 10_000_000.0  # [1], [m], [m] (south)

_n = FLATTENING / (2 - FLATTENING)
RECTIFYING_RADIUS = SEMI_MAJOR_AXIS / (1 + _n) * (1 + _n**2 / 4 + _n**4 / 64 + _n**6 / 256)
FORWARD = (  # alpha, Karney eq. 35
    _n / 2 - 2 * _n**2 / 3 + 5 * _n**3 / 16 + 41 * _n**4 / 180 - 127 * _n**5 / 288 + 7891 * _n**6 / 37800,
    13 * _n**2 / 48 - 3 * _n**3 / 5 + 557 * _n**4 / 1440 + 281 * _n**5 / 630 - 1983433 * _n**6 / 1935360,
    61 * _n**3 / 240 - 103 * _n**4 / 140 + 15061 * _n**5 / 26880 + 167603 * _n**6 / 181440,
    49561 * _n**4 / 161280 - 179 * _n**5 / 168 + 6601661 * _n**6 / 7257600,
    34729 * _n**5 / 80640 - 3418889 * _n**6 / 1995840,
    212378941 * _n**6 / 319334400,
)
INVERSE = (  # beta, Karney eq. 36
    _n / 2 - 2 * _n**2 / 3 + 37 * _n**3 / 96 - _n**4 / 360 - 81 * _n**5 / 512 + 96199 * _n**6 / 604800,
    _n**2 / 48 + _n**3 / 15 - 437 * _n**4 / 1440 + 46 * _n**5 / 105 - 1118711 * _n**6 / 3870720,
    17 * _n**3 / 480 - 37 * _n**4 / 840 - 209 * _n**5 / 4480 + 5569 * _n**6 / 90720,
    4397 * _n**4 / 161280 - 11 * _n**5 / 504 - 830251 * _n**6 / 7257600,
    4583 * _n**5 / 161280 - 108847 * _n**6 / 3991680,
    20648693 * _n**6 / 638668800,
)


def zone_of(epsg: int) -> tuple[int, bool]:
    """UTM zone and whether it lies south, of EPSG 326zz (north) or 327zz (south). Raises ValueError for others."""
    hundreds, zone = divmod(epsg, 100)
    if hundreds not in (326, 327) or not 1 <= zone <= 60:
        raise ValueError(f"EPSG:{epsg} is not a WGS84 UTM zone (EPSG:32601 to 32660 or 32701 to 32760)")
    return zone, hundreds == 327


def conformal_tangent(tau: Floats) -> Floats:
    """Tangent (...) of the conformal latitude, from the tangent of the geographic one (Karney eqs. 7-9)."""
    sigma = np.sinh(ECCENTRICITY * np.arctanh(ECCENTRICITY * tau / np.hypot(1, tau)))
    return np.asarray(tau * np.hypot(1, sigma) - sigma * np.hypot(1, tau))


def to_utm(lon_lat: Floats, epsg: int) -> Floats:
    """Eastings and northings (..., 2) [m] of longitudes and latitudes (..., 2) [deg]."""
    zone, south = zone_of(epsg)
    lon, lat = np.deg2rad(lon_lat[..., 0] - (6 * zone - 183)), np.deg2rad(lon_lat[..., 1])
    tau = conformal_tangent(np.tan(lat))
    xi, eta = np.arctan2(tau, np.cos(lon)), np.arcsinh(np.sin(lon) / np.hypot(tau, np.cos(lon)))
    z = xi + 1j * eta
    z = z + sum(a * np.sin(2 * j * z) for j, a in enumerate(FORWARD, start=1))
    metres = SCALE * RECTIFYING_RADIUS * z
    return np.stack([FALSE_EASTING + metres.imag, metres.real + south * FALSE_NORTHING], axis=-1)


def to_lon_lat(points: Floats, epsg: int) -> Floats:
    """Longitudes and latitudes (..., 2) [deg] of eastings and northings (..., 2) [m]."""
    zone, south = zone_of(epsg)
    metres = (points[..., 1] - south * FALSE_NORTHING) + 1j * (points[..., 0] - FALSE_EASTING)
    z = metres / (SCALE * RECTIFYING_RADIUS)
    z = z - sum(b * np.sin(2 * j * z) for j, b in enumerate(INVERSE, start=1))
    conformal = np.sin(z.real) / np.hypot(np.sinh(z.imag), np.cos(z.real))
    tau = conformal
    for _ in range(5):  # Newton, Karney eqs. 19-21; converges quadratically
        miss = conformal - conformal_tangent(tau)
        slope = (1 + (1 - ECCENTRICITY**2) * tau**2) / ((1 - ECCENTRICITY**2) * np.hypot(1, tau))
        tau = tau + miss / np.hypot(1, conformal_tangent(tau)) * slope
    lon = np.rad2deg(np.arctan2(np.sinh(z.imag), np.cos(z.real))) + (6 * zone - 183)
    return np.stack([lon, np.rad2deg(np.arctan(tau))], axis=-1)
